"""The tiny bundles of the runtime's tests, and runs without rests."""

from __future__ import annotations

import pytest

from benchmarks.performance import peers, scaling
from benchmarks.runtimes import pool
from harmguard.rows import Row
from tests.runtime.conftest import make_bundle, needle, needle_bundle, small_bundle

__all__ = ["make_bundle", "needle", "needle_bundle", "row_of", "small_bundle"]


@pytest.fixture(autouse=True)
def no_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rests are for the figures, which no test looks at."""
    for module in (pool, peers, scaling):
        monkeypatch.setattr(module, "SETTLE_S", 0.0)


def row_of(prompt: str, response: str | None, label: int | None, source: str) -> Row:
    """A labelled row of a source."""
    return Row("", prompt, response, label, source=source)
