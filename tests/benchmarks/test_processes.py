"""benchmarks.training._processes: results in order, in this process and in others."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
import torch

from benchmarks.training._processes import ALLOCATION, each


def asked(item: tuple[str, int]) -> tuple[int, str | None, int]:
    """What a process was given, an item that it doubles among it."""
    name, value = item
    return torch.get_num_threads(), os.environ.get(name), 2 * value


def test_processes_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.training._processes.default_threads", lambda: 3)
    for name in ALLOCATION:
        monkeypatch.setenv(name, "131072")
    name = next(iter(ALLOCATION))
    items = [(name, 1), (name, 2), (name, 3)]
    assert each(asked, items, 2) == [(1, "131072", 2), (1, "131072", 4), (1, "131072", 6)]


def test_no_processes() -> None:
    function: Callable[[int], int] = abs
    assert each(function, [-1, 2], 0) == [1, 2]
