"""benchmarks.scaling and _peak on a tiny guard."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import _peak, _scaling_table, scaling


def test_a_quick_run(
    small_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(_peak, "ROWS", 32)
    monkeypatch.setattr(_peak, "CALLS", 2)
    out = tmp_path / "scaling.json"
    assert scaling.main([str(small_bundle), "--quick", "--threads", "1", "--out", str(out)]) == 0
    found = json.loads(out.read_text(encoding="utf-8"))
    assert min(found["peak_gops"].values()) > 0
    (guard,) = found["guards"]
    assert [(c["batch"], c["tokens"]) for c in guard["cells"]] == scaling.shapes(
        64, scaling.MOST, quick=True
    )
    profile = guard["profile"]["32"]
    assert profile["MatMul"]["nodes"] == 3
    # 32 tokens x 16 x 16, then x 16 x 1, and 16 x 2 for the one row that is pooled.
    assert sum(cell["macs"] for cell in profile.values()) == 32 * 16 * 17 + 16 * 2
    text = capsys.readouterr().out
    assert "**tiny 1, fp32**: ms a batch" in text


def test_shapes_are_within_the_limits() -> None:
    large = scaling.shapes(1024, scaling.MOST_LARGE, quick=False)
    assert max(tokens for _, tokens in large) == 1024
    assert max(batch * tokens for batch, tokens in large) == 4096
    mini = scaling.shapes(512, scaling.MOST, quick=False)
    assert max(tokens for _, tokens in mini) == 512
    assert (64, 512) in mini


def test_the_fit_finds_what_the_cells_were_made_of() -> None:
    cells = [
        {"batch": b, "tokens": n, "ms": 0.5 + 0.02 * b * n + 1e-5 * b * n * n}
        for b, n in scaling.shapes(512, scaling.MOST, quick=False)
    ]
    found = scaling.fit(cells)
    assert found["call_ms"] == pytest.approx(0.5)
    assert found["token_ms"] == pytest.approx(0.02)
    assert found["square_ms"] == pytest.approx(1e-5)
    assert found["worst"] < 1e-6


def test_multiply_adds_of_an_attention() -> None:
    shapes = [{"float": [2, 10, 8]}, {"int8": [8, 24]}]
    found = _peak.macs(
        {"op_name": "QAttention", "input_type_shape": shapes, "output_type_shape": [{"f": [2]}]}
    )
    assert found == 2 * 10 * (8 * 24 + 2 * 10 * 8)


def test_the_floor_is_twice_the_multiply_adds_at_the_peak() -> None:
    profile = {"MatMul": {"macs": 5e8, "ms": 3.0}, "Add": {"macs": 0, "ms": 1.0}}
    assert _scaling_table.floor_ms(profile, 100.0) == pytest.approx(10.0)
