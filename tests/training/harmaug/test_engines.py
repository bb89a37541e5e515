"""The choice of engine, and what it says where its package is not installed."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from harmguard.errors import EngineError, MissingExtraError
from harmguard.training.harmaug.engines import executor
from harmguard.training.harmaug.plan import Engine
from harmguard.training.stage import Item


@dataclass(frozen=True)
class Echo:
    """Gives items back; says how often it was opened."""

    opened: list[int]
    rows_apart = False

    def open(self) -> Callable[[Sequence[Item]], list[Item]]:
        self.opened.append(1)
        return list


@dataclass(frozen=True)
class Apart:
    """Rows of their own: "c" waits for `go`, "d" ends in an error."""

    go: threading.Event
    rows_apart = True

    def open(self) -> Callable[[Sequence[Item]], list[Item]]:
        def function(items: Sequence[Item]) -> list[Item]:
            (item,) = items
            if item["id"] == "c":
                assert self.go.wait(30)
            if item["id"] == "d":
                raise EngineError("the server answers 401")
            return [item]

        return function


def test_blocks_go_through_one_opening() -> None:
    blocks: list[list[Item]] = [[{"id": "a"}, {"id": "b"}], [{"id": "c"}]]
    opened: list[int] = []
    execute, block_rows = executor(Engine(block_rows=2), Echo(opened))
    assert block_rows == 2
    assert list(execute(blocks)) == blocks
    assert opened == [1]
    assert list(execute([])) == []
    assert opened == [1]  # nothing left: nothing is loaded


def test_rows_apart_come_as_soon_as_they_are_done() -> None:
    go = threading.Event()
    execute, block_rows = executor(Engine("openai", block_rows=64, workers=2), Apart(go))
    assert block_rows == 1
    found = execute([[{"id": name}] for name in "cab"])
    early: list[Item] = []
    while len(early) < 2:  # while "c", asked first, is still under way
        early += next(found)
    assert sorted(item["id"] for item in early) == ["a", "b"]
    go.set()
    assert [item for results in found for item in results] == [{"id": "c"}]
    assert list(execute([])) == []


KILLED = """
import os, signal, sys, time
from pathlib import Path
from harmguard.training.harmaug.engines import executor
from harmguard.training.harmaug.plan import Engine
from harmguard.training.stage import Stage
class Work:
    rows_apart = True
    def open(self):
        return self.answer
    def answer(self, items):
        if items[0]["id"] == sys.argv[2]:
            time.sleep(0.5)  # the answers before are on the disk by then
            os.kill(os.getpid(), signal.SIGKILL)
        print(items[0]["id"], flush=True)
        return items
with Stage(Path(sys.argv[1]), {"stage": "x"}) as stage:
    items = [{"id": f"r{i}"} for i in range(12)]
    stage.finish(stage.run(items, *executor(Engine("openai", workers=1), Work())), [], {})
"""


def test_a_kill_loses_no_answer(tmp_path: Path) -> None:
    def asked(kill_at: str) -> list[str]:
        command = [sys.executable, "-c", KILLED, str(tmp_path), kill_at]
        return subprocess.run(command, capture_output=True, text=True).stdout.split()

    assert asked("r7") == [f"r{i}" for i in range(7)]
    assert asked("none") == [f"r{i}" for i in range(7, 12)]
    lines = (tmp_path / "rows.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == [f"r{i}" for i in range(12)]


def test_an_error_loses_no_answer_that_is_under_way() -> None:
    go = threading.Event()
    execute, _ = executor(Engine("openai", workers=2), Apart(go))
    found = execute([[{"id": name}] for name in "cadbbbb"])
    kept: list[str] = []
    while not kept:
        kept += [item["id"] for item in next(found)]
    threading.Timer(0.2, go.set).start()  # "c" ends after "d" has failed
    with pytest.raises(EngineError, match="the server answers 401"):
        kept.extend(item["id"] for results in found for item in results)
    assert sorted(kept) == ["a", "c"]


@pytest.mark.parametrize(("kind", "module"), [("openai", "server"), ("ray", "cluster")])
def test_an_engine_whose_package_is_missing(
    kind: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, kind, None)
    name = f"harmguard.training.harmaug.engines.{module}"
    monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(MissingExtraError, match=rf"needs {kind}, .*train,scale"):
        importlib.import_module(name)
