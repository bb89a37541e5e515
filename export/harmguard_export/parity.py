"""The parity gate: how far the exported model is from its checkpoint, and what is allowed.

The limits of each recipe are in `quantization/recipes/*.json`; `recipe.Limits` says what they
mean.
Default for int8: mean score error .01, 99th percentile .05, RMS error of the logits 5 % of
their standard deviation, 1.5 % of decisions flipped, none whose reference is further than .10
from the threshold, AUPRC at most .003 lower where the pairs have labels. Every recipe: a score in
a batch of other texts at most .002 from the score alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from harmguard.core.batch import Logits
from harmguard.core.encode import Encoded
from harmguard.core.scores import margins
from harmguard.errors import ParityError
from harmguard.verify import BATCH_DIFFERENCE
from harmguard_export.pairs import scores_of
from harmguard_export.quantization.recipe import Limits

# Where the logits vary less than this (scores within about .5 +- .12), errors are compared with
# it: such a model hardly tells texts apart, and the limits on scores say more.
LEAST_SPREAD = 0.5
# Logits nearer than this rank alike: float32 rounds differently by batch and by processor, and
# would put one text, given twice with both labels, in either order.
SAME_LOGIT = 5e-5
# A checkpoint whose scores are all nearer to .5 than this has learnt nothing.
UNTRAINED = 0.1


@dataclass(frozen=True)
class Parity:
    """Measured differences; the fields that `Limits` has are compared with it."""

    pairs: int
    mean_score_error: float
    p99_score_error: float
    largest_score_error: float
    logit_rms_error: float
    flipped: float
    flipped_distance: float
    auprc_drop: float | None
    batch_difference: float | None
    """Largest difference between a score in a batch and alone; None: one text at a time only."""
    cause: str = ""
    """What the numbers suggest where a limit is missed; for the error alone."""

    def missed(self, limits: Limits) -> list[str]:
        """The measures above their limits."""
        allowed = asdict(limits) | {"batch_difference": BATCH_DIFFERENCE}
        # `not <=`, so that a NaN misses.
        return [
            name
            for name, limit in allowed.items()
            if getattr(self, name) is not None and not getattr(self, name) <= limit
        ]

    def to_json(self) -> dict[str, Any]:
        """As the manifest keeps it."""
        return {
            name: value if value is None or isinstance(value, int) else round(value, 6)
            for name, value in asdict(self).items()
            if name != "cause"
        }

    def report(self, limits: Limits) -> str:
        """A line per measure, with its limit, the missed ones marked."""
        allowed, missed = (
            asdict(limits) | {"batch_difference": BATCH_DIFFERENCE},
            self.missed(limits),
        )
        lines = [f"parity on {self.pairs} pairs, against the checkpoint in float32"]
        for name, value in asdict(self).items():
            if name in ("pairs", "cause") or value is None:
                continue
            limit = f"limit {allowed[name]:g}" if name in allowed else ""
            mark = "MISSED" if name in missed else ""
            lines.append(f"  {name:20} {value:8.4f}  {limit:12} {mark}".rstrip())
        return "\n".join(lines)


def measure(
    reference: Logits,
    exported: Logits,
    encoded: Sequence[Encoded],
    threshold: float,
    labels: npt.NDArray[np.int64] | None,
    alone: Logits | None = None,
) -> Parity:
    """Compare the logits [windows, 2] of both models on the same windows.

    `alone`: the exported model's where each window is a batch of its own.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        return _measure(reference, exported, encoded, threshold, labels, alone)


def _measure(
    reference: Logits,
    exported: Logits,
    encoded: Sequence[Encoded],
    threshold: float,
    labels: npt.NDArray[np.int64] | None,
    alone: Logits | None,
) -> Parity:
    before, after = scores_of(reference, encoded), scores_of(exported, encoded)
    error = np.abs(after - before)
    flipped = (before >= threshold) != (after >= threshold)
    before_z, after_z = margins(reference), margins(exported)
    spread = max(float(before_z.std()), LEAST_SPREAD)
    moved = None if alone is None else np.abs(scores_of(alone, encoded) - after)
    drop = None
    if labels is not None:
        # p (1 - p) is the slope of the score: near 0 and 1 too, only rounding is left out.
        ranked = np.where(error <= SAME_LOGIT * before * (1 - before), before, after)
        drop = average_precision(labels, before) - average_precision(labels, ranked)
    return Parity(
        pairs=len(encoded),
        mean_score_error=float(error.mean()),
        p99_score_error=float(np.quantile(error, 0.99)),
        largest_score_error=float(error.max()),
        logit_rms_error=float(np.sqrt(((after_z - before_z) ** 2).mean())) / spread,
        flipped=float(flipped.mean()),
        flipped_distance=float(np.abs(before - threshold)[flipped].max(initial=0)),
        auprc_drop=drop,
        batch_difference=None if moved is None else float(moved.max()),
        cause=_cause(reference, exported, before),
    )


def _cause(reference: Logits, exported: Logits, before: npt.NDArray[np.float64]) -> str:
    """What the numbers suggest, if a limit is missed."""
    if not np.isfinite(exported).all():
        bad = int((~np.isfinite(exported).all(axis=1)).sum())
        return (
            f"the exported model's logits are not finite in {bad} of {len(exported)} windows; "
            "likely weights whose range the recipe cannot hold"
        )
    low, high = float(before.min()), float(before.max())
    if 0.5 - UNTRAINED < low and high < 0.5 + UNTRAINED:
        return (
            f"the checkpoint's own scores are all near .5 ({low:.3f} to {high:.3f}); likely an "
            "untrained model, whose scores any rounding reorders"
        )
    largest = float(np.abs(margins(reference)).max())
    return (
        f"the checkpoint's scores are {low:.3f} to {high:.3f}, its logits differ by {largest:.1f} "
        "at most; likely a model with activation outliers"
    )


def check(parity: Parity, limits: Limits) -> None:
    """Raise ParityError with the report if a limit is missed."""
    missed = parity.missed(limits)
    if missed:
        cause = parity.cause
        if missed == ["batch_difference"]:
            cause = "likely an operator whose range is one for the whole batch"
        raise ParityError(
            f"{', '.join(missed)} above the limit; expected the recipe to keep the scores: "
            f"{cause}. No bundle was written.\n{parity.report(limits)}"
        )


def average_precision(labels: npt.NDArray[np.int64], scores: npt.NDArray[np.float64]) -> float:
    """Area under the precision-recall curve, as a sum over the distinct scores."""
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(labels[order])
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    precision, recall = hits[ends] / (ends + 1), hits[ends] / hits[-1]
    return float(np.sum(np.diff(recall, prepend=0) * precision))
