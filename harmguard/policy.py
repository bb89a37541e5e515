"""What becomes of a text: a verdict, or the lack of one, and what the app chose to do with it."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Literal, Protocol

from harmguard.errors import InputError, InputTypeError, UnjudgedTextError
from harmguard.verdict import Verdict

State = Literal["harmless", "harmful", "unjudged"]
OnError = Literal["block", "pass", "raise"]

UNREADABLE = 0.5
"""From this share of unreadable text on, a harmless verdict says too little to go by."""


class Checker(Protocol):
    """What a policy asks: a guard, or a cascade of two."""

    def check(self, prompt: str, response: str | None = None, /) -> Verdict:
        """The verdict on an exchange, or on a prompt alone."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What a policy made of one text."""

    state: State
    """"unjudged" is neither harmless nor harmful: there is no verdict to go by."""
    blocked: bool
    """Whether to hold the text back: never where a policy only monitors."""
    would_block: bool
    """`blocked`, if the policy did not only monitor."""
    verdict: Verdict | None = None
    """None where there was an error."""
    error: Exception | None = None
    """Why a text is unjudged; its message holds no text of the user's."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Decisions so far. The first three add up to all of them."""

    harmless: int = 0
    harmful: int = 0
    unjudged: int = 0
    blocked: int = 0
    would_block: int = 0


class Policy:
    """Decides on texts by a guard's verdicts, and counts.

    - `on_error`: what becomes of a text that could not be judged, because the guard raised an
      error (a wrong or too long text, a closed guard, a model that failed) or because half of it
      or more is unreadable to the guard: "block" it, "pass" it on, or "raise" the error, which
      is UnjudgedTextError for an unreadable text. It is "unjudged" in any case, never harmless.
    - `monitor`: decide and count, but block nothing. `on_error="raise"` raises all the same.

    May be used by several threads at once. Raises InputError and InputTypeError for other options.
    """

    def __init__(
        self, guard: Checker, *, on_error: OnError = "block", monitor: bool = False
    ) -> None:
        if on_error not in ("block", "pass", "raise"):
            raise InputError(
                f'on_error is {ascii(on_error)[:40]}; expected "block", "pass" or "raise"'
            )
        if not isinstance(monitor, bool):
            raise InputTypeError(f"monitor is {type(monitor).__name__}; expected bool")
        self._guard, self._on_error, self._monitor = guard, on_error, monitor
        self._lock = threading.Lock()
        self._counts = Counts()

    @property
    def counts(self) -> Counts:
        """How often what was decided, so far."""
        return self._counts

    def decide(self, prompt: str, response: str | None = None) -> Decision:
        """Judge an exchange, or a prompt alone, and decide. Raises only by `on_error`."""
        try:
            verdict = self._guard.check(prompt, response)
        except Exception as error:  # whatever it is, there is no verdict
            return self.settle(error)
        return self.settle(verdict)

    def settle(self, outcome: Verdict | Exception) -> Decision:
        """Decide on a verdict, or on what was raised in place of one, from elsewhere: a stream's.

        Raises what `decide` raises.
        """
        verdict = outcome if isinstance(outcome, Verdict) else None
        error = outcome if isinstance(outcome, Exception) else None
        if verdict is not None and not verdict.harmful:
            error = _unreadable(verdict)
        state: State = (
            "unjudged" if error else "harmful" if verdict and verdict.harmful else "harmless"
        )
        would_block = state == "harmful" or (state == "unjudged" and self._on_error != "pass")
        blocked = would_block and not self._monitor
        with self._lock:
            old = self._counts
            self._counts = Counts(
                old.harmless + (state == "harmless"),
                old.harmful + (state == "harmful"),
                old.unjudged + (state == "unjudged"),
                old.blocked + blocked,
                old.would_block + would_block,
            )
        if error is not None and self._on_error == "raise":
            raise error
        return Decision(state, blocked, would_block, verdict, error)


def _unreadable(verdict: Verdict) -> UnjudgedTextError | None:
    share = verdict.unreadable
    if share < UNREADABLE:
        return None
    return UnjudgedTextError(
        f"{share:.0%} of the text is unreadable to the guard; expected less than {UNREADABLE:.0%}; "
        "likely a script or a cipher that it was not made for"
    )
