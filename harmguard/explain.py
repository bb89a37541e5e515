"""Which sentences a verdict comes from: each one alone, and the text without it, in one batch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

from harmguard.core.scores import logit
from harmguard.core.sentences import sentences
from harmguard.verdict import Verdict

MOST_PARTS = 64
"""Texts of more sentences are explained in groups of neighbours."""
WEIGHT_ALONE = 0.3
"""What a logit of a sentence alone counts beside one that the text loses without it.

Of 0 to 4, .1 to .3 named planted sentences best, and none named one whose removal was of no use.
"""


class Checker(Protocol):
    """What can be explained: a guard, or a cascade of two."""

    def check_many(self, pairs: Iterable[tuple[str, str | None]], /) -> list[Verdict]:
        """Verdicts on pairs, in order."""


@dataclass(frozen=True, slots=True)
class Part:
    """A sentence, or a group of neighbours, and what it has to do with the verdict.

    `text[start:end]` is the part: offsets count code points of the string that was passed in,
    as Python does. JavaScript, Java and Kotlin count UTF-16 units: docs/explain.md says how to
    turn one into the other.
    """

    start: int
    end: int
    part: float
    """Its part in the verdict, in logits: `drop` and .3 of `alone`; for ranking."""
    alone: float
    """The logit of the part alone, with the prompt, less that of the threshold."""
    drop: float
    """How many logits the text loses without it; 0 where the part is the whole text."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """The parts of a text that its verdict comes from."""

    verdict: Verdict
    """`check`'s."""
    of: Literal["prompt", "response"]
    """Which text the offsets are of."""
    parts: tuple[Part, ...]
    """All parts, in the order of the text; together they are all of it."""
    named: tuple[Part, ...]
    """The parts that the verdict comes from, the first one first; empty if nothing is flagged.

    A part is named if it is harmful alone, or if the text is harmless without it; where there is
    none such, every part is.
    """
    spread: bool
    """Whether the harm is in all parts, or in none of them alone."""


def explain(guard: Checker, prompt: str, response: str | None) -> Explanation:
    """Explain a verdict of `guard`; as `HarmGuard.explain`."""
    of: Literal["prompt", "response"] = "prompt" if response is None else "response"
    text = response if response is not None else prompt

    def pair(some: str) -> tuple[str, str | None]:
        return (some, None) if of == "prompt" else (prompt, some)

    # A wrong argument is refused by the guard, whose message names it.
    spans = parts_of(text) if isinstance(text, str) else []
    pairs: list[tuple[str, str | None]] = [(prompt, response)]
    if len(spans) > 1:
        pairs += [pair(text[start:end]) for start, end in spans]
        pairs += [pair(text[:start] + text[end:]) for start, end in spans]
    verdicts = guard.check_many(pairs)
    whole = verdicts[0]
    limit = float(logit(whole.threshold))
    z = logit([verdict.score for verdict in verdicts])
    found = []
    for number, (start, end) in enumerate(spans, 1):
        single = len(spans) == 1
        alone = float(z[0] if single else z[number]) - limit
        drop = 0.0 if single else float(z[0] - z[number + len(spans)])
        found.append(Part(start, end, drop + WEIGHT_ALONE * alone, alone, drop))
    named = _named(found, whole, verdicts)
    spread = whole.harmful and len(found) > 1 and len(named) == len(found)
    return Explanation(whole, of, tuple(found), named, spread)


def _named(parts: list[Part], whole: Verdict, verdicts: list[Verdict]) -> tuple[Part, ...]:
    if not whole.harmful:
        return ()
    count = len(parts)
    causes = [
        part
        for number, part in enumerate(parts, 1)
        if count == 1 or verdicts[number].harmful or not verdicts[number + count].harmful
    ]
    return tuple(sorted(causes or parts, key=lambda part: (-part.part, part.start)))


def parts_of(text: str) -> list[tuple[int, int]]:
    """The parts of a text as offsets: sentences with a letter or digit each, at most MOST_PARTS.

    Sentences without any are joined to the one before, or to the first with some.
    """
    joined: list[tuple[int, int]] = []
    wordless = True  # so far
    for start, end in sentences(text):
        has_words = any(c.isalnum() for c in text[start:end])
        if joined and (wordless or not has_words):
            start = joined.pop()[0]
        joined.append((start, end))
        wordless = wordless and not has_words
    size = -(-len(joined) // MOST_PARTS)
    return [
        (joined[first][0], joined[min(first + size, len(joined)) - 1][1])
        for first in range(0, len(joined), size or 1)
    ]
