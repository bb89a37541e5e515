"""Arms of an ablation on one validation set: figures with intervals over its rows and the seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.harness.errors import BenchmarkDataError
from benchmarks.quality.quality import Interval
from harmguard.rows import Row
from harmguard.training.evaluate import metrics
from harmguard.training.evaluate.metrics import Floats
from harmguard.training.evaluate.report import MIN_ROWS

METRICS = ("auprc", "recall_at_fpr_1", "recall_at_fpr_5")
RESAMPLES = 1000
MACRO, PROMPTS, PAIRS = "macro", "prompts", "pairs"
"""The mean over sources, and all rows of a kind pooled; beside them each source has its own."""


Figures = dict[str, dict[str, Interval]]
"""Group -> metric -> figure."""


@dataclass(frozen=True)
class Measured:
    """Per group and metric: the mean over the seeds, its replicates, and each seed's own."""

    points: dict[str, dict[str, float]]
    drawn: dict[str, dict[str, Floats]]
    seeds: list[dict[str, dict[str, float]]]

    def figures(self) -> Figures:
        """With their intervals."""
        return {
            group: {name: _interval(value, self.drawn[group][name]) for name, value in own.items()}
            for group, own in self.points.items()
        }

    def less(self, other: Measured) -> Figures:
        """What these figures are above the other's."""
        return {
            group: {
                name: _interval(
                    value - other.points[group][name],
                    self.drawn[group][name] - other.drawn[group][name],
                )
                for name, value in own.items()
            }
            for group, own in self.points.items()
        }


def measured(
    val: Sequence[Row], scores: Sequence[Sequence[float]], arm: int, resamples: int = RESAMPLES
) -> Measured:
    """The figures of an arm whose students, one a seed, gave the rows these scores.

    A replicate draws rows, the same for every arm, so that differences are paired, and as many
    of the seeds as there are, with replacement, by the number of the arm, because students of
    different arms share nothing. Raises BenchmarkDataError where no source has enough rows.
    """
    groups = groups_of(val)
    labels = np.array([row.label for row in val])
    sources = np.array([row.source for row in val])
    picks = np.random.default_rng([17, arm]).integers(len(scores), size=(resamples, len(scores)))
    seeds: list[dict[str, dict[str, float]]] = [{} for _ in scores]
    drawn: dict[str, dict[str, Floats]] = {}
    for number, (group, members) in enumerate(groups.items(), 1):
        y, parts = labels[members], []
        for own, values in zip(seeds, scores, strict=True):
            p = np.asarray(values)[members]
            point = metrics.point_metrics(y, p, 0.5)
            own[group] = {name: round(point[name], 6) for name in METRICS}
            parts.append(
                metrics.bootstrap(
                    y, p, 0.5, strata=sources[members], n=resamples, seed=number
                )
            )  # fmt: skip
        drawn[group] = {
            name: np.stack([part[name] for part in parts])[picks, np.arange(resamples)[:, None]]
            .mean(1)
            for name in METRICS
        }  # fmt: skip
    single = [group for group in groups if group not in (PROMPTS, PAIRS)]
    for own in seeds:
        own[MACRO] = {
            n: round(float(np.mean([own[group][n] for group in single])), 6) for n in METRICS
        }
    drawn[MACRO] = {n: np.mean([drawn[group][n] for group in single], axis=0) for n in METRICS}
    points = {
        group: {name: float(np.mean([own[group][name] for own in seeds])) for name in METRICS}
        for group in (MACRO, *groups)
    }
    return Measured(points, drawn, seeds)


def groups_of(val: Sequence[Row]) -> dict[str, list[int]]:
    """Indices of the rows of a kind, and of each source that counts for the macro figures."""
    kinds: Mapping[str, str] = {"prompt": PROMPTS, "exchange": PAIRS}
    found: dict[str, list[int]] = {}
    for index, row in enumerate(val):
        found.setdefault(kinds[row.kind], []).append(index)
    pooled = {name: found[name] for name in (PROMPTS, PAIRS) if name in found}
    sources: dict[str, list[int]] = {}
    for index, row in enumerate(val):
        sources.setdefault(f"{row.source} ({kinds[row.kind]})", []).append(index)
    for name, members in sorted(sources.items()):
        harmful = sum(val[i].label == 1 for i in members)
        if min(harmful, len(members) - harmful) >= MIN_ROWS:
            pooled[name] = members
    if not set(pooled) - {PROMPTS, PAIRS}:
        raise BenchmarkDataError(
            f"no source of val has {MIN_ROWS} rows of each label; expected one at least, which "
            "the macro figures are means over"
        )
    return pooled


def _interval(value: float, replicates: Any) -> Interval:
    """As `metrics.interval`, of a figure that may be negative."""
    tail = 100 * (1 - metrics.LEVEL) / 2
    low, high = np.percentile(replicates, [tail, 100 - tail]) - (replicates.mean() - value)
    return {
        "value": round(value, 6),
        "low": round(min(value, float(low)), 6),
        "high": round(max(value, float(high)), 6),
    }
