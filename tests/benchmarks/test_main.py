"""python -m benchmarks: what it runs."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from benchmarks.__main__ import commands


def modules(checkpoint: Path | None, *, quick: bool) -> list[str]:
    return [command[0].removeprefix("benchmarks.") for command in commands(checkpoint, quick=quick)]


def test_what_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HARMGUARD_DATA", raising=False)
    assert modules(None, quick=False) == ["startup", "scaling", "peers", "peers", "report"]
    assert modules(None, quick=True) == ["startup", "scaling", "peers"]
    monkeypatch.setenv("HARMGUARD_DATA", "data")
    found = modules(Path("run"), quick=False)
    assert found == [
        *("startup", "scaling", "speed", "bulk", "peers", "peers", "longtext", "report"),
    ]
    for name in found:
        assert importlib.util.find_spec(f"benchmarks.{name}") is not None
    for command in commands(Path("run"), quick=True):
        assert command[-1] == "--quick"
