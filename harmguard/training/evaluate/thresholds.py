"""Operating points: which threshold a kind of input gets, as pure functions of labels and scores.

Thresholds have four decimals and lie within [.0005, .9995], so that half precision can tell them
from 0 and 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harmguard.errors import ConfigError, DataError
from harmguard.training.evaluate.metrics import Floats, Ints

RATES = {"fpr_1": 0.01, "fpr_5": 0.05}
MIN_OF_EACH = 20
"""Rows of each label that a kind of input needs before a default threshold is chosen for it."""
LOWEST, HIGHEST = 0.0005, 0.9995
_SAFE_ONLY_ROWS = 50
_GRID = np.arange(5, 9996) / 10_000
_SLACK = 1e-6  # more than the rounding of a float32 score


@dataclass(frozen=True)
class DefaultRule:
    """How the default threshold of a kind of input is chosen.

    Among the thresholds that flag at most `max_fpr` of the safe rows, and at most
    `max_safe_only_fpr` of each source that has safe rows only (50 or more: such sources are
    mostly written to frighten a guard), the one with the highest F1, where the harmful rows
    together weigh as much as the safe ones. Raises ConfigError for a share that is none.
    """

    max_fpr: float = 0.20
    max_safe_only_fpr: float = 0.20

    def __post_init__(self) -> None:
        for share in (self.max_fpr, self.max_safe_only_fpr):
            if not 0 < share <= 1:
                raise ConfigError(f"{share} of safe rows flagged; expected above 0, at most 1")

    def __str__(self) -> str:
        return (
            "highest F1 with harmful and safe rows weighing the same, at most "
            f"{self.max_fpr:.1%} of safe rows flagged and at most {self.max_safe_only_fpr:.1%} of "
            f"each source of {_SAFE_ONLY_ROWS} or more safe rows and no harmful one"
        )


def is_degenerate(prompt: str, response: str | None) -> bool:
    """Whether a text has fewer than three distinct letters or digits.

    Such rows (rows of dashes, one emoji, an empty answer) say nothing about harm, and a few of them
    at one end of the scale could move a threshold.
    """
    texts = [prompt] if response is None else [prompt, response]
    return any(len({c for c in text.casefold() if c.isalnum()}) < 3 for text in texts)


def flagged_share(scores: Floats) -> Floats:
    """Share of `scores` (n > 0) at or above each threshold that may be chosen (9,991)."""
    below = np.searchsorted(np.sort(scores), _GRID - _SLACK, side="left")
    share: Floats = (scores.size - below) / scores.size
    return share


def threshold_at_fpr(safe: Floats, limit: float) -> float | None:
    """The lowest threshold of four decimals that flags at most `limit` of the safe scores.

    None when there are fewer than 2 / `limit` safe scores (the rate could not be told from
    zero), or when even .9995 flags more.
    """
    if safe.size < round(2 / limit):
        return None
    fits = np.flatnonzero(flagged_share(safe) <= limit)
    return float(_GRID[fits[0]]) if fits.size else None


def default_threshold(
    labels: Ints, scores: Floats, sources: Sequence[str], rule: DefaultRule
) -> float | None:
    """The threshold that `rule` chooses for one kind of input; None if none satisfies it.

    Of thresholds with the same F1, the highest.
    """
    fpr = flagged_share(scores[labels == 0])
    recall = flagged_share(scores[labels == 1])
    allowed = fpr <= rule.max_fpr
    names = np.asarray(sources)
    for name in np.unique(names):
        own = names == name
        if own.sum() >= _SAFE_ONLY_ROWS and not labels[own].any():
            allowed &= flagged_share(scores[own]) <= rule.max_safe_only_fpr
    if not allowed.any():
        return None
    f1 = np.where(allowed, 2 * recall / (1 + recall + fpr), -1)
    return float(_GRID[np.flatnonzero(f1 == f1.max())[-1]])


def operating_points(
    labels: Ints, scores: Floats, sources: Sequence[str], kind: str, rule: DefaultRule
) -> tuple[dict[str, tuple[float, str]], list[str]]:
    """Value and rule of each operating point that the rows of one kind allow, and notes."""
    points: dict[str, tuple[float, str]] = {}
    notes: list[str] = []
    harmful = int(labels.sum())
    safe = scores[labels == 0]
    if min(harmful, safe.size) < MIN_OF_EACH:
        notes.append(
            f"{kind}: default threshold kept: {harmful} harmful and {safe.size} safe rows, at "
            f"least {MIN_OF_EACH} of each are needed"
        )
    elif (value := default_threshold(labels, scores, sources, rule)) is None:
        raise DataError(
            f"{kind}: no threshold up to {HIGHEST} satisfies the rule ({rule}): does the guard "
            "tell these rows apart at all?"
        )
    else:
        points["default"] = (value, str(rule))
    for name, limit in RATES.items():
        found = threshold_at_fpr(safe, limit)
        if found is not None:
            points[name] = (found, f"lowest with at most {limit:.0%} of safe rows flagged")
        elif safe.size < round(2 / limit):
            need = round(2 / limit)
            notes.append(
                f"{kind}: {name} not chosen: {safe.size} safe rows, at least {need} are needed"
            )
        else:
            notes.append(f"{kind}: {name} not chosen: a threshold of {HIGHEST} still flags more")
    return points, notes


def stream_threshold(whole: Floats, highest: Floats, default: float) -> float | None:
    """The operating point of streams: the lowest that stops no more safe answers than `default`.

    `whole` (n > 0) are the scores of whole safe answers, of which `default` flags some, and
    `highest` each one's highest score while it is written. None if even .9995 stops more.
    """
    limit = float((whole >= default).mean())
    fits = np.flatnonzero(flagged_share(highest) <= limit)
    return float(_GRID[fits[0]]) if fits.size else None
