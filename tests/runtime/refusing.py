"""What the tests of attacks share: a bundle to be spoilt, and how it is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from harmguard import HarmGuard, HarmGuardError


def refused(folder: Path, error: type[HarmGuardError], match: str) -> None:
    """The guard raises `error`, whose message has found, expected and likely cause."""
    with pytest.raises(error, match=match) as caught:
        HarmGuard(folder, threads=1)
    assert caught.type is error
    assert "expected" in str(caught.value)
    assert "likely" in str(caught.value)
