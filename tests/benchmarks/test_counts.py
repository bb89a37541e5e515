"""counts: the shipped guard is within its bounds, each count that is off is named."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.harness.errors import BenchmarkDataError
from benchmarks.performance import counts
from harmguard.bundle import EMBEDDED
from harmguard.errors import BundleNotFoundError

pytest.importorskip("onnx")


@pytest.fixture(scope="module")
def most() -> Any:
    return counts.bounds(counts.BOUNDS)


def test_the_mini_guard_is_within_its_bounds(most: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """A regression shows in counts, which noise does not move; seconds would."""
    assert counts.COMMAND.main([]) == 0, capsys.readouterr().out
    # The bounds are what was exported, and a margin for other systems: not room for a regression.
    found = counts.count(EMBEDDED)
    assert found["operators"] == most["operators"]
    assert found["graph_bytes"] > 0.98 * most["graph_bytes"]
    if sys.platform == "linux":
        assert found["load_anonymous_mb"] > 0.7 * most["load_anonymous_mb"]


def test_every_count_that_is_off_is_named(most: Any) -> None:
    operators = {**most["operators"], "MatMul": most["operators"]["MatMul"] + 1, "Loop": 1}
    wrong: Any = {
        "nodes": most["nodes"] + 2,
        "operators": operators,
        "graph_bytes": most["graph_bytes"] + 1,
        "load_anonymous_mb": most["load_anonymous_mb"] + 0.1,
    }
    assert counts.off(wrong, most) == [
        "nodes: 279; expected at most 277",
        "graph_bytes: 26500001; expected at most 26500000",
        "load_anonymous_mb: 62.1; expected at most 62",
        "operators of type MatMul: 31; expected at most 30",
        "operators of type Loop: 1; expected at most 0",
    ]
    unknown: Any = {**most, "load_anonymous_mb": None}
    assert counts.off(unknown, most) == []


def test_a_bundle_with_one_operator_too_many_fails(
    small_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = counts.count(small_bundle)
    path = tmp_path / "bounds.json"
    path.write_text(json.dumps(found | {"load_anonymous_mb": 1000}))
    assert counts.COMMAND.main([str(small_bundle), "--bounds", str(path)]) == 0
    assert "all counts are within their bounds" in capsys.readouterr().out
    fewer = found["operators"] | {"MatMul": found["operators"]["MatMul"] - 1}
    small = {"operators": fewer, "graph_bytes": found["graph_bytes"] - 1, "load_anonymous_mb": 1}
    path.write_text(json.dumps(found | small))
    assert counts.COMMAND.main([str(small_bundle), "--bounds", str(path)]) == 1
    out = capsys.readouterr().out
    assert f"operators of type MatMul: {found['operators']['MatMul']}; expected at most" in out
    assert f"graph_bytes: {found['graph_bytes']}; expected at most" in out
    assert ("3 counts off" if sys.platform == "linux" else "2 counts off") in out


def test_errors(tmp_path: Path) -> None:
    with pytest.raises(BundleNotFoundError, match="no folder at"):
        counts.COMMAND.main([str(tmp_path / "nowhere")])
    with pytest.raises(BenchmarkDataError, match=r"unreadable \(FileNotFoundError\); expected bou"):
        counts.bounds(tmp_path / "none.json")
    (tmp_path / "half.json").write_text('{"nodes": 1}')
    with pytest.raises(BenchmarkDataError, match="has no operators, graph_bytes, load_anonymous_m"):
        counts.bounds(tmp_path / "half.json")
