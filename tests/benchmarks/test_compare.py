"""compare on made-up results: near ratios pass, far ones and lone ones are named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import compare
from benchmarks.harness.errors import BenchmarkDataError


def results(folder: Path, **changed: float) -> Path:
    ratio = {"torch": 3.0, "bulk": 1.4, "litert": 5.0, "floor": 40.0} | changed
    mode = {"times_harmguard": {"torch": {"fastest": ratio["torch"]}}}
    profile = {"MatMul": {"macs": 5e8, "ms": 1.0}}
    peak = {"fp32": 200.0, "int8": 700.0}
    cell = {"batch": 1, "tokens": 32, "fastest_ms": ratio["floor"] + 1}
    guard = {"peak_gops": peak, "profile": {"32": profile}, "cells": [cell]}
    guard["calls_ms"] = {"32": ratio["floor"]}
    about = {"name": "mini", "recipe": "fp32"}
    row = {"times_anchor": {"32": {"fastest": ratio["litert"]}}}
    own = {"times_anchor": {"32": {"fastest": 1.0}}}
    made: dict[str, dict[str, Any]] = {
        "speed": {"lengths": [{"tokens": 16, "text": mode, "ids": mode}]},
        "bulk": {"times_score_many": {"optimum": {"fastest": ratio["bulk"]}}},
        "peers-mini": {"anchor": "harmguard int8", "rows": {"litert": row, "harmguard int8": own}},
        "scaling": {"guards": [{"bundle": about, **guard}]},
    }
    folder.mkdir()
    for name, value in made.items():
        (folder / f"{name}.json").write_text(json.dumps(value))
    return folder


def test_near_runs_agree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = results(tmp_path / "a"), results(tmp_path / "b", torch=3.3, litert=4.5)
    assert compare.COMMAND.main([str(a), str(b)]) == 0
    out = capsys.readouterr().out
    assert "2 ratios of speed, at most 10.0% apart: speed: torch / harmguard, ids, 16 tokens" in out
    assert "1 ratios of scaling, at most 0.0% apart: scaling: mini fp32 / floor, 32 tokens" in out
    assert out.endswith("5 ratios, 0 more than 15% apart, 0 in one only\n")


def test_cells_that_are_apart_or_alone_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = results(tmp_path / "a"), results(tmp_path / "b", litert=4.3)
    assert compare.COMMAND.main([str(a), str(b)]) == 1
    assert "16.3% apart: peers-mini: LiteRT fp32, 32 tokens, 5.000 and 4.300\n" in (
        capsys.readouterr().out
    )
    (b / "bulk.json").unlink()
    assert compare.COMMAND.main([str(a), str(b)]) == 1
    out = capsys.readouterr().out
    assert f"in {a} only: bulk: optimum / score_many\n" in out
    assert out.endswith("4 ratios, 1 more than 15% apart, 1 in one only\n")


def test_nothing_to_compare(tmp_path: Path) -> None:
    a = results(tmp_path / "a")
    with pytest.raises(BenchmarkDataError, match="no ratio in common; expected raw results of"):
        compare.COMMAND.main([str(a), str(tmp_path)])
    (a / "speed.json").write_text("{}")
    with pytest.raises(BenchmarkDataError, match=r"speed.json is unreadable \(KeyError\); exp"):
        compare.COMMAND.main([str(a), str(a)])
