"""The errors of the benchmarks."""

from __future__ import annotations

from harmguard.errors import BenchError


class WorkerError(BenchError):
    """A runtime's process failed or died."""


class OutputsDifferError(BenchError):
    """The runtimes do not compute the same thing, so their times must not be compared."""


class ScoresDifferError(BenchError):
    """Another processor gives a bundle other scores or other verdicts."""


class EnvironmentMissingError(BenchError):
    """The environment of a peer cannot be made."""


class BenchmarkDataError(BenchError):
    """The data folder or an input file cannot be used."""


class PageError(BenchError):
    """A page's marked places cannot be filled."""
