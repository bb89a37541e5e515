"""The errors of the benchmarks."""

from __future__ import annotations

from harmguard.errors import HarmGuardError


class BenchmarkError(HarmGuardError):
    """A benchmark cannot go on."""


class WorkerError(BenchmarkError):
    """A runtime's process failed or died."""


class OutputsDifferError(BenchmarkError):
    """The runtimes do not compute the same thing, so their times must not be compared."""


class BenchmarkDataError(BenchmarkError):
    """The data folder or an input file cannot be used."""
