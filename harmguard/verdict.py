"""The result of one check."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harmguard.core.views import ViewName


@dataclass(frozen=True, slots=True)
class Verdict:
    """A harm score and the decision taken on it."""

    score: float
    """P(harmful) in [0, 1]; of a text in several windows, the highest of theirs."""
    threshold: float
    """Scores at or above it are harmful, in [0, 1]."""
    harmful: bool
    """`score >= threshold`."""
    tokens: int
    """Tokens of the prompt and the response, without special tokens."""
    windows: int
    """How many windows the texts as they are have; 1 unless longer than the model's input."""
    view: ViewName = "text"
    """The view of the texts that the score is of: "text" as they are, "cleaned" of what hides
    them, "decoded", or "payload", what was hidden alone."""
    unreadable: float = 0.0
    """Share of characters, in [0, 1], that the guard has no token for or whose script it was not
    trained on; of an exchange the higher of both. A low score of such a text says little."""
    guard: str = ""
    """The name of the guard that decided."""


@dataclass(frozen=True, slots=True)
class StreamVerdict(Verdict):
    """The verdict on an answer up to `end`: `threshold` and `harmful` are the stream's."""

    start: int = field(kw_only=True)
    """Characters (code points) that were judged before; if harmful, what went out at most."""
    end: int = field(kw_only=True)
    """Characters of the answer that the score is of."""
