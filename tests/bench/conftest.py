"""The tiny bundles of the runtime's tests."""

from __future__ import annotations

from tests.runtime.conftest import make_bundle, needle, needle_bundle, small_bundle

__all__ = ["make_bundle", "needle", "needle_bundle", "small_bundle"]
