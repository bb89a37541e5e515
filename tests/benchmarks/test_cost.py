"""The cost script at its small shapes: every figure is there and follows from the others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")


def test_the_scaled_down_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks.training.cost import COMMAND, EPOCHS, PAIR_TOKENS, PAIRS

    assert COMMAND.main(["--scaled-down", "--out", str(tmp_path / "cost.json")]) == 0
    result = json.loads((tmp_path / "cost.json").read_text())
    assert result["scaled_down"] is True
    for one in result["student"]:
        assert one["rate"] == pytest.approx(one["rows"] * one["tokens"] / one["seconds"])
    for one in result["teacher"]:
        assert one["rate"] == pytest.approx(one["rows"] / one["seconds"])
    for one in result["generator"]:
        assert one["rate"] == pytest.approx(one["rows"] * one["new_tokens"] / one["seconds"])
    best = max(one["rate"] for one in result["student"])
    hours = result["training_hours"]["hours"]
    assert hours == pytest.approx(PAIRS * EPOCHS * PAIR_TOKENS / best / 3600)
    assert "follow from a full run only" in capsys.readouterr().out
