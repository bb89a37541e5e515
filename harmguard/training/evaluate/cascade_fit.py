"""The fit of a cascade: two guards' scores on one scale, a band for the large one, thresholds.

Each guard's logit gets a slope and an offset by logistic regression on the same rows (Platt), so
that both scores are probabilities of the same thing. The band is chosen among those in which at
most the bound of the benign rows lies, for the highest AUPRC of the merged scores.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from harmguard import HarmGuard
from harmguard.bundle.spec import KINDS
from harmguard.cascade import CascadeFit, KindFit, Scale
from harmguard.core.files import refuse_existing, sha256_of, write_file
from harmguard.core.scores import logit, sigmoid
from harmguard.errors import ConfigError, DataError
from harmguard.rows import Row, read_rows
from harmguard.training.evaluate import metrics
from harmguard.training.evaluate.metrics import Floats, Ints
from harmguard.training.evaluate.scoring import score_bundle
from harmguard.training.evaluate.thresholds import (
    MIN_OF_EACH,
    DefaultRule,
    is_degenerate,
    operating_points,
)

_PLACES = 41
"""Bands that are tried for each share: where they begin among the benign scores."""
_Z = 1.645
"""One-sided 95 %: what goes up of the fitting rows is held under the bound by that much."""


def fit_scale(scores: Floats, labels: Ints) -> Scale:
    """Slope and offset that fit sigmoid(slope * logit + offset) to the labels, both weighing 1.

    The slope is positive, so that the order of scores stays. Raises DataError for one label only.
    """
    if len(np.unique(labels)) < 2:
        raise DataError(
            f"found one label in all {labels.size} rows; expected harmful and safe rows: a scale "
            "cannot be fitted to one class"
        )
    z = logit(scores)
    weights = np.where(labels == 1, 1 / (labels == 1).sum(), 1 / (labels == 0).sum())
    design = np.stack([z, np.ones_like(z)], 1)
    theta = np.array([1.0, 0.0])
    for _ in range(50):
        p = sigmoid(design @ theta)
        gradient = design.T @ (weights * (p - labels)) + [1e-6 * (theta[0] - 1), 1e-6 * theta[1]]
        curvature = design.T @ (design * (weights * p * (1 - p))[:, None]) + 1e-6 * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        theta = theta - np.clip(step, -1, 1)
        if np.abs(step).max() < 1e-9:
            break
    return Scale(round(max(float(theta[0]), 1e-3), 6), round(float(theta[1]), 6))


def merged(small: Floats, large: Floats, band: tuple[float, float] | None) -> Floats:
    """Scores of the cascade, of both guards' on the common scale."""
    if band is None:
        return small
    return np.where((band[0] <= small) & (small <= band[1]), large, small)


def allowed(benign: int, bound: float) -> int:
    """Of so many benign rows, the most that may go up: the bound less sampling error."""
    return max(0, int(benign * bound - _Z * (benign * bound * (1 - bound)) ** 0.5))


def fit_band(
    small: Floats, large: Floats, labels: Ints, bound: float
) -> tuple[float, float] | None:
    """The band of the highest AUPRC in which at most `bound` of the benign rows lie.

    None where no band is better than none: the large guard may be the weaker one. Of bands with
    the same AUPRC the first.
    """
    benign = np.sort(small[labels == 0])
    count = allowed(benign.size, bound)
    best, found = metrics.point_metrics(labels, small, 0.5)["auprc"], None
    if count == 0:
        return None
    for start in np.unique(np.linspace(0, benign.size - count, _PLACES).astype(int)):
        low = 0.0 if start == 0 else float(benign[start])
        high = 1.0 if start + count == benign.size else float(benign[start + count - 1])
        inside = (low <= benign) & (benign <= high)
        if inside.sum() > count:  # rows with the same score
            continue
        auprc = metrics.point_metrics(labels, merged(small, large, (low, high)), 0.5)["auprc"]
        if auprc > best:
            best, found = auprc, (low, high)
    return found


def fit_kind(
    small: Floats, large: Floats, labels: Ints, sources: Sequence[str], kind: str, bound: float
) -> tuple[KindFit, list[str]]:
    """The fit of one kind of input from both guards' scores, and notes. Raises DataError."""
    harmful, safe = int(labels.sum()), int((labels == 0).sum())
    if min(harmful, safe) < MIN_OF_EACH:
        raise DataError(
            f"{kind}: {harmful} harmful and {safe} safe rows; expected at least {MIN_OF_EACH} of "
            "each: a cascade needs rows of both kinds of input"
        )
    scales = fit_scale(small, labels), fit_scale(large, labels)
    p, q = scales[0].of(small), scales[1].of(large)
    band = fit_band(p, q, labels, bound)
    scores = merged(p, q, band)
    points, notes = operating_points(labels, scores, sources, kind, DefaultRule())
    inside = np.zeros(p.size, bool) if band is None else (band[0] <= p) & (p <= band[1])
    if band is None:
        notes.append(f"{kind}: no band is better than the small guard alone")
    return KindFit(
        *scales,
        band=band,
        thresholds={name: value for name, (value, _) in points.items()},
        benign=safe,
        escalated=round(float(inside[labels == 0].mean()), 6),
    ), notes


def calibrate_cascade(
    small: Path, large: Path, labelled: Path, out: Path, *, bound: float, threads: int | None = None
) -> tuple[CascadeFit, list[str]]:
    """Fit two guards to labelled rows and write the fit to `out`, for `harmguard.Cascade`.

    Raises DataError, ConfigError for a bound outside (0, 1], BundleError, OutputExistsError.
    """
    if not 0 < bound <= 1:
        raise ConfigError(f"the bound is {bound}; expected a share above 0, at most 1")
    refuse_existing(out)
    rows = [row for row in read_rows(labelled) if not is_degenerate(row.prompt, row.response)]
    bare = sum(row.label is None for row in rows)
    if bare or not rows:
        raise DataError(
            f"{labelled.name}: {bare} of {len(rows)} rows without a label; expected 0 or 1 in "
            "every row, and rows with words in them"
        )
    scores, digests = [], []
    for path in (small, large):
        with HarmGuard(path, threads=threads) as guard:
            scores.append(np.array([score.score for score in score_bundle(guard, rows)]))
            digests.append(guard.digest)
    fit, notes = fit_rows(rows, scores[0], scores[1], bound)
    found = CascadeFit(
        digests[0], digests[1], bound, f"{labelled.name} (sha256 {sha256_of(labelled)})", fit
    )
    write_file(out, json.dumps(found.to_json(), indent=2) + "\n")
    return found, notes


def fit_rows(
    rows: Sequence[Row], small: Floats, large: Floats, bound: float
) -> tuple[dict[str, KindFit], list[str]]:
    """The fit of both kinds of input from both guards' scores of the rows, and notes."""
    labels = np.array([row.label for row in rows], np.int64)
    kinds = np.array([row.kind for row in rows])
    found, notes = {}, []
    for kind in KINDS:
        own = kinds == kind
        sources = [row.source for row, mine in zip(rows, own, strict=True) if mine]
        found[kind], more = fit_kind(small[own], large[own], labels[own], sources, kind, bound)
        notes += more
    return found, notes
