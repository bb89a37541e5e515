"""Logits -> scores: the one formula of training, export and run time.

A window's score is softmax([safe, harmful] / temperature)[1], which is the sigmoid of the
difference of both logits over the temperature; a text's score is the highest of its windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from harmguard.core.batch import Logits

Floats = npt.NDArray[np.float64]


def sigmoid(x: Any) -> Floats:
    """1 / (1 + exp(-x)), float64 of the shape of `x`, exact to the last digits at both ends.

    The exponent is never positive, so nothing overflows.
    """
    wide = np.asarray(x, np.float64)
    power = np.exp(-np.abs(wide))
    return np.asarray(np.where(wide >= 0, 1.0, power) / (1.0 + power), np.float64)


def logit(score: Any) -> Floats:
    """The inverse of `sigmoid`, float64 of the shape of `score`.

    A score that float32 rounds to 0 or 1 gives the largest difference that it can tell apart.
    """
    p = np.clip(np.asarray(score, np.float64), 2.0**-24, 1 - 2.0**-24)
    return np.asarray(np.log(p) - np.log1p(-p), np.float64)


def margins(logits: Any) -> Floats:
    """The logit of harmful less that of safe, float64 [windows], of logits [windows, 2]."""
    wide = np.asarray(logits, np.float64)
    return np.asarray(wide[:, 1] - wide[:, 0], np.float64)


def window_scores(logits: Any, temperature: float = 1.0) -> Floats:
    """P(harmful) of each window, float64 [windows] in [0, 1], of logits [windows, 2]."""
    return sigmoid(margins(logits) / temperature)


def winners(logits: Logits, windows: Sequence[int]) -> list[int]:
    """Which of its windows each text has its score of, [texts]: the first of the highest."""
    found, start, z = [], 0, margins(logits)
    for count in windows:
        found.append(int(z[start : start + count].argmax()))
        start += count
    return found


def text_scores(logits: Logits, windows: Sequence[int], temperature: float = 1.0) -> Floats:
    """P(harmful) of each text, float64 [texts] in [0, 1]: the highest of its windows.

    `logits` [sum of windows, 2] are those of all windows in order, `windows` says how many each
    text has, at least one.
    """
    if not len(windows):
        return np.empty(0, np.float64)
    starts = np.cumsum([0, *windows[:-1]])
    return np.asarray(np.maximum.reduceat(window_scores(logits, temperature), starts), np.float64)
