"""The tiny bundles of the runtime's tests."""

from __future__ import annotations

from harmguard.rows import Row
from tests.runtime.conftest import make_bundle, needle, needle_bundle, small_bundle

__all__ = ["make_bundle", "needle", "needle_bundle", "row_of", "small_bundle"]


def row_of(prompt: str, response: str | None, label: int | None, source: str) -> Row:
    """A labelled row of a source."""
    return Row("", prompt, response, label, source=source)
