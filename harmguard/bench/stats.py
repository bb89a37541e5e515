"""Medians, tails, spreads and intervals: the arithmetic of every benchmark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from harmguard.bench.results import Timing

P99_SAMPLES = 100
"""Below this many samples the 99th percentile is only the slowest one, so it is not given."""


@dataclass(frozen=True)
class Summary:
    """What is quoted of a list of samples; every figure has the samples' own unit."""

    n: int
    median: float
    p90: float
    p99: float | None
    spread: float
    """(p90 - p10) / median, so 0.1 means that most samples lie within a tenth."""

    def to_json(self, digits: int | None = None) -> Timing:
        """As a result keeps it, with so many digits after the point; None: all."""

        def told(value: float) -> float:
            return value if digits is None else round(value, digits)

        return {
            "n": self.n,
            "median": told(self.median),
            "p90": told(self.p90),
            "p99": None if self.p99 is None else told(self.p99),
            "spread": told(self.spread),
        }


@dataclass(frozen=True)
class Ratio:
    """How many times longer one runtime takes than another."""

    fastest: float
    """Of the fastest samples: neighbours on a machine only add time, so this one repeats."""
    low: float
    """The lowest ratio of one round's medians."""
    high: float


@dataclass(frozen=True)
class Share:
    """A proportion with its 95 % Wilson interval; the share of nothing is None."""

    count: int
    n: int
    share: float | None
    low: float
    high: float


def percentile(samples: Sequence[float], q: float) -> float:
    """The q-th quantile (0 to 1) of at least one sample, linear between neighbours."""
    ordered = sorted(samples)
    place = q * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def summary(samples: Sequence[float]) -> Summary:
    """Median, tails and spread of at least one positive sample."""
    median = percentile(samples, 0.5)
    return Summary(
        n=len(samples),
        median=median,
        p90=percentile(samples, 0.9),
        p99=percentile(samples, 0.99) if len(samples) >= P99_SAMPLES else None,
        spread=(percentile(samples, 0.9) - percentile(samples, 0.1)) / median,
    )


def ratio(slow: Sequence[Sequence[float]], fast: Sequence[Sequence[float]]) -> Ratio:
    """Time of `slow` over time of `fast`, both as rounds of samples.

    The two halves of a round ran next to each other, so the range of their medians' ratios shows
    how steady the machine was.
    """
    rounds = [percentile(a, 0.5) / percentile(b, 0.5) for a, b in zip(slow, fast, strict=True)]
    return Ratio(min(flat(slow)) / min(flat(fast)), min(rounds), max(rounds))


def flat(rounds: Sequence[Sequence[float]]) -> list[float]:
    """All samples of all rounds."""
    return [sample for one in rounds for sample in one]


def wilson(count: int, n: int) -> Share:
    """`count` of `n` with the 95 % interval of Wilson (1927), right for small n and rare events."""
    if n == 0:
        return Share(0, 0, None, 0.0, 1.0)
    z = 1.959964
    p = count / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return Share(count, n, p, max(0.0, middle - half), min(1.0, middle + half))
