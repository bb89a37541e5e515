"""benchmarks.training._processes: results in order, in this process and in others."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

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


SLEEPER = """
import os, sys, time
from pathlib import Path
from benchmarks.training._processes import each

def sleep(path):
    Path(path).write_text(str(os.getpid()))
    time.sleep(60)

if __name__ == "__main__":
    each(sleep, [sys.argv[1]], 1)
"""


def test_a_killed_command_leaves_no_process(tmp_path: Path) -> None:
    (tmp_path / "sleeper.py").write_text(SLEEPER)
    root = Path(__file__).resolve().parents[2]
    path = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, str(tmp_path / "sleeper.py"), str(tmp_path / "pid")]
    parent = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path})
    wait(lambda: (tmp_path / "pid").is_file() and bool((tmp_path / "pid").read_text()))
    worker = Path("/proc") / (tmp_path / "pid").read_text()
    assert worker.is_dir()
    parent.kill()
    parent.wait()
    # Where nobody takes it in, what is left of it is a zombie, with no command.
    wait(lambda: not worker.is_dir() or not (worker / "cmdline").read_bytes())


def wait(true: Callable[[], bool]) -> None:
    """Until it is true, for as long as a busy machine may take."""
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)
