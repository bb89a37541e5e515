"""The choice of engine, and what it says where its package is not installed."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest

from harmguard.errors import MissingExtraError
from harmguard.training.pipeline.engines import executor
from harmguard.training.pipeline.recipe import Engine
from harmguard.training.pipeline.stage import Item


@dataclass(frozen=True)
class Echo:
    """Gives items back; says how often it was opened."""

    opened: list[int]

    def open(self) -> Callable[[Sequence[Item]], list[Item]]:
        self.opened.append(1)
        return list


def test_blocks_go_through_one_opening() -> None:
    blocks: list[list[Item]] = [[{"id": "a"}, {"id": "b"}], [{"id": "c"}]]
    opened: list[int] = []
    assert list(executor(Engine(), Echo(opened))(blocks)) == blocks
    assert opened == [1]
    assert list(executor(Engine(), Echo(opened))([])) == []
    assert opened == [1]  # nothing left: nothing is loaded


@pytest.mark.parametrize(("kind", "module"), [("openai", "server"), ("ray", "cluster")])
def test_an_engine_whose_package_is_missing(
    kind: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, kind, None)
    name = f"harmguard.training.pipeline.engines.{module}"
    monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(MissingExtraError, match=rf"needs the package {kind}, .*train,scale"):
        importlib.import_module(name)
