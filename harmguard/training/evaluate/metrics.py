"""Figures of merit of a guard from labels and scores, and their uncertainty.

Point values come from scikit-learn. Bootstrap replicates are computed here, because a replicate is
the same sample with integer weights: one sort serves all of them, and a thousand replicates of a
few thousand rows take about a second.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import (
    average_precision_score,
    confusion_matrix,
    precision_recall_fscore_support,
    roc_auc_score,
    roc_curve,
)

from harmguard.errors import DataError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

NAMES = (
    "auprc",
    "auroc",
    "f1",
    "precision",
    "recall",
    "fpr",
    "recall_at_fpr_1",
    "recall_at_fpr_5",
    "ece",
)
ECE_BINS = 15
LEVEL = 0.95
_Z = 1.959963984540054  # two-sided normal quantile of LEVEL
_CHUNK_CELLS = 2_000_000


@dataclass(frozen=True)
class Interval:
    """A value with the bounds of its confidence interval (level `LEVEL`)."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, float]:
        """The three numbers, rounded to six decimals."""
        return {k: round(v, 6) for k, v in vars(self).items()}


def as_arrays(labels: Any, scores: Any) -> tuple[Ints, Floats]:
    """Labels (n) as int64 of 0 and 1, and scores (n) as float64 in [0, 1].

    Raises DataError for no rows, lengths that differ, another label, a score outside [0, 1] or NaN.
    """
    given = np.asarray(labels)
    p = np.asarray(scores, dtype=np.float64)
    if given.ndim != 1 or p.ndim != 1 or given.size != p.size:
        raise DataError(
            f"found labels of shape {given.shape} and scores of shape {p.shape}; expected one "
            "score per label"
        )
    if not given.size:
        raise DataError("found no rows; expected at least one: is the data file empty?")
    bad = np.flatnonzero((given != 0) & (given != 1))
    if bad.size:
        raise DataError(
            f"found {bad.size} labels that are neither 0 nor 1, the first at index {bad[0]}; "
            "expected 1 for harmful and 0 for safe"
        )
    bad = np.flatnonzero(~((p >= 0) & (p <= 1)))
    if bad.size:
        raise DataError(
            f"found {bad.size} scores outside [0, 1], the first at index {bad[0]}; expected "
            "probabilities: are these logits?"
        )
    return given.astype(np.int64), p


def _both_classes(y: Ints) -> None:
    harmful = int(y.sum())
    if harmful in (0, y.size):
        only = "harmful" if harmful else "safe"
        raise DataError(
            f"found only {only} rows ({y.size}); expected both labels: ranking figures such as "
            "AUPRC do not exist for one class"
        )


def calibration_error(labels: Any, scores: Any, bins: int = ECE_BINS) -> float:
    """Expected calibration error over `bins` equally wide bins of [0, 1].

    The mean, weighted by rows, of the distance between a bin's mean score and its share of harmful
    rows (Naeini et al. 2015, on the probability of the harmful class).
    """
    y, p = as_arrays(labels, scores)
    where = _bin(p, bins)
    gap = np.bincount(where, weights=p - y, minlength=bins)
    return float(np.abs(gap).sum() / y.size)


def reliability(labels: Any, scores: Any, bins: int = ECE_BINS) -> list[dict[str, float]]:
    """One entry per bin that holds rows: n, mean score, share harmful with its Wilson interval."""
    y, p = as_arrays(labels, scores)
    where = _bin(p, bins)
    out = []
    for b in range(bins):
        inside = where == b
        n = int(inside.sum())
        if n:
            share = wilson(int(y[inside].sum()), n)
            out.append({"n": float(n), "score": float(p[inside].mean()), **share.to_json()})
    return out


def recall_at_fpr(labels: Any, scores: Any, limit: float) -> float:
    """The highest recall of any threshold whose false-positive rate is at most `limit`."""
    y, p = as_arrays(labels, scores)
    _both_classes(y)
    fpr, tpr, _ = roc_curve(y, p, drop_intermediate=False)
    return float(tpr[fpr <= limit].max())


def point_metrics(labels: Any, scores: Any, threshold: float) -> dict[str, float]:
    """All of `NAMES` for rows of both labels; a score of at least `threshold` is flagged.

    Raises DataError as `as_arrays` does, and for rows of one label only.
    """
    y, p = as_arrays(labels, scores)
    _both_classes(y)
    flagged = (p >= threshold).astype(np.int64)
    precision, recall, f1, _ = precision_recall_fscore_support(
        y, flagged, average="binary", zero_division=0.0
    )
    true_negative, false_positive, _, _ = confusion_matrix(y, flagged, labels=[0, 1]).ravel()
    return {
        "auprc": float(average_precision_score(y, p)),
        "auroc": float(roc_auc_score(y, p)),
        "f1": float(f1),
        "precision": float(precision),
        "recall": float(recall),
        "fpr": float(false_positive / (false_positive + true_negative)),
        "recall_at_fpr_1": recall_at_fpr(y, p, 0.01),
        "recall_at_fpr_5": recall_at_fpr(y, p, 0.05),
        "ece": calibration_error(y, p),
    }


def wilson(successes: int, n: int) -> Interval:
    """A share with Wilson's score interval.

    Raises DataError where n is not positive, or `successes` not within 0 to n.
    """
    if n < 1 or not 0 <= successes <= n:
        raise DataError(f"found {successes} of {n} rows; expected 0 <= successes <= n and n >= 1")
    share = successes / n
    centre = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n * n))
    return Interval(share, max(0.0, centre - half), min(1.0, centre + half))


def bootstrap(
    labels: Any,
    scores: Any,
    threshold: float,
    *,
    strata: Any = None,
    n: int = 1000,
    seed: int = 0,
) -> dict[str, Floats]:
    """`n` bootstrap replicates of every metric in `NAMES`: arrays of shape (n,).

    Rows are drawn with replacement within each label and, where `strata` (one value per row) is
    given, within each stratum, so that every replicate keeps the sizes of the sample's parts.
    """
    y, p = as_arrays(labels, scores)
    _both_classes(y)
    groups = y if strata is None else y + 2 * np.unique(np.asarray(strata), return_inverse=True)[1]
    parts: dict[str, list[Floats]] = {name: [] for name in NAMES}
    for weights in _replicates(groups, n, np.random.default_rng(seed)):
        for name, values in weighted_metrics(y, p, threshold, weights).items():
            parts[name].append(values)
    return {name: np.concatenate(chunks) for name, chunks in parts.items()}


def interval(value: float, replicates: Floats) -> Interval:
    """The interval of `value` at `LEVEL`: its replicates' percentiles, less their bias.

    Resampling inflates some figures (calibration error, recall at a small FPR), so that plain
    percentiles can lie beside the value; the replicates' mean is moved onto the value instead.
    """
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(replicates, [tail, 100 - tail]) - (replicates.mean() - value)
    return Interval(value, min(value, max(0.0, float(low))), max(value, min(1.0, float(high))))


def weighted_metrics(y: Ints, p: Floats, threshold: float, weights: Floats) -> dict[str, Floats]:
    """`NAMES` for each row of `weights` (replicates, n): arrays of shape (replicates,).

    Each replicate must give both labels some weight.
    """
    order = np.argsort(-p, kind="stable")
    y, p, weights = y[order], p[order], weights[:, order]
    ends = np.append(np.flatnonzero(np.diff(p)), p.size - 1)  # the last row of each distinct score
    harmful = weights * y
    safe = weights - harmful
    tp = np.cumsum(harmful, axis=1)[:, ends]
    fp = np.cumsum(safe, axis=1)[:, ends]
    tpr = tp / tp[:, -1:]
    fpr = fp / fp[:, -1:]
    flagged = int(np.count_nonzero(p >= threshold))
    hit = harmful[:, :flagged].sum(axis=1)
    alarm = safe[:, :flagged].sum(axis=1)
    recall = hit / tp[:, -1]
    precision = _ratio(hit, hit + alarm)
    zero = np.zeros((len(weights), 1))
    step = np.diff(tpr, axis=1, prepend=zero)
    curve = np.concatenate([zero, tpr], axis=1)
    return {
        "auprc": (step * _ratio(tp, tp + fp)).sum(axis=1),
        "auroc": (np.diff(fpr, axis=1, prepend=zero) * (curve[:, 1:] + curve[:, :-1])).sum(1) / 2,
        "f1": _ratio(2 * precision * recall, precision + recall),
        "precision": precision,
        "recall": recall,
        "fpr": alarm / fp[:, -1],
        "recall_at_fpr_1": np.where(fpr <= 0.01, tpr, 0.0).max(axis=1),
        "recall_at_fpr_5": np.where(fpr <= 0.05, tpr, 0.0).max(axis=1),
        "ece": _weighted_ece(y, p, weights),
    }


def _bin(p: Floats, bins: int) -> Ints:
    return np.minimum((p * bins).astype(np.int64), bins - 1)


def _weighted_ece(y: Ints, p: Floats, weights: Floats) -> Floats:
    one_hot = np.eye(ECE_BINS)[_bin(p, ECE_BINS)]
    gap = (weights * (p - y)) @ one_hot
    total: Floats = np.abs(gap).sum(axis=1) / weights.sum(axis=1)
    return total


def _ratio(top: Floats, bottom: Floats) -> Floats:
    return np.divide(top, bottom, out=np.zeros_like(top), where=bottom > 0)


def _replicates(groups: Ints, n: int, rng: np.random.Generator) -> Iterator[Floats]:
    """Weights (chunk, rows): how often each row was drawn, with every group's size kept."""
    members = [np.flatnonzero(groups == g) for g in np.unique(groups)]
    chunk = max(1, _CHUNK_CELLS // groups.size)
    for start in range(0, n, chunk):
        size = min(chunk, n - start)
        weights = np.zeros((size, groups.size))
        for rows in members:
            drawn = rng.integers(rows.size, size=(size, rows.size))
            drawn += rows.size * np.arange(size)[:, None]
            counts = np.bincount(drawn.ravel(), minlength=size * rows.size)
            weights[:, rows] = counts.reshape(size, rows.size)
        yield weights
