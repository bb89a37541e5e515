"""The result of one check."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Verdict:
    """A harm score and the decision taken on it."""

    score: float
    """P(harmful) in [0, 1]; of a text in several windows, the highest of theirs."""
    threshold: float
    """Scores at or above it are harmful, in [0, 1]."""
    harmful: bool
    """``score >= threshold``."""
    tokens: int
    """Tokens of the prompt and the response, without special tokens."""
    windows: int
    """How many windows were scored; 1 unless the text is longer than the model's input."""
