"""Harmful answers of one or two sentences put into benign ones, at a random sentence's end."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.harness.errors import BenchmarkDataError
from harmguard.core.sentences import sentences
from harmguard.rows import Row
from harmguard.stream import prefixes

MOST_SENTENCES = 2
LEAST_AROUND = 3


@dataclass(frozen=True)
class Splice:
    """A benign row's answer with a harmful row's in it, from `start` to `end`."""

    benign: int
    """The benign row's index among the exchanges."""
    harmful: int
    text: str
    start: int
    end: int

    def judged(self) -> list[int]:
        """Where a stream judges, up to the end of the part after the harmful answer's last."""
        ends = [len(prefix) for prefix in prefixes(self.text)]
        last = next(number for number, end in enumerate(ends) if end >= self.end)
        return ends[: last + 2]


def splices(rows: Sequence[Row], count: int, seed: int) -> list[Splice]:
    """`count` splices of exchanges, drawn with the seed; no benign row serves twice if enough."""
    around = [
        n for n, row in enumerate(rows)
        if row.label == 0 and len(sentences(row.response or "")) >= LEAST_AROUND
    ]  # fmt: skip
    harmful = [
        n for n, row in enumerate(rows)
        if row.label == 1 and row.response and len(sentences(row.response)) <= MOST_SENTENCES
    ]  # fmt: skip
    if not around or not harmful:
        raise BenchmarkDataError(
            f"{len(around)} benign and {len(harmful)} harmful answers that can be spliced; "
            "expected some of each; likely a small data file"
        )
    rng = random.Random(seed)
    rng.shuffle(around)
    rng.shuffle(harmful)
    return [
        _splice(rows, around[n % len(around)], harmful[n % len(harmful)], rng) for n in range(count)
    ]


def planted(text: str, inner: str, rng: random.Random) -> tuple[str, int, int]:
    """`inner` at a random sentence's end of `text`, or before it; the text, and where it is."""
    at = rng.choice([0, *(end for _, end in sentences(text))])
    head, tail = text[:at], text[at:]
    if head and not head[-1].isspace():
        head += " "
    if tail and not tail[0].isspace():
        tail = " " + tail
    return head + inner + tail, len(head), len(head) + len(inner)


def _splice(rows: Sequence[Row], benign: int, harmful: int, rng: random.Random) -> Splice:
    inner = (rows[harmful].response or "").strip()
    return Splice(benign, harmful, *planted(rows[benign].response or "", inner, rng))
