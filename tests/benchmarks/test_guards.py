"""benchmarks.performance.guards: two tiny bundles side by side."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.harness.results import read_json
from benchmarks.performance import guards


def test_a_quick_run(
    small_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(guards, "LENGTHS", (8, 16))
    out = tmp_path / "guards.json"
    arguments = [str(small_bundle), str(small_bundle), "--quick", "--out", str(out)]
    assert guards.COMMAND.main(arguments) == 0
    found = read_json(out)["guards"]
    assert len(found) == 2
    for one in found:
        assert one["bundle"] == found[0]["bundle"]
        assert {tokens: ms["n"] for tokens, ms in one["ms"].items()} == {"8": 16, "16": 16}
        assert one["start_s"]["n"] == 2
        if sys.platform == "linux":
            memory = one["memory_mb"]
            assert memory["long_score"] >= memory["first_score"] * 0.9 > 1
    assert all(compared["fastest"] == 1.0 for compared in found[0]["times_first"].values())
    shown = capsys.readouterr().out
    assert shown.count(f"`{found[0]['bundle']['sha256']['guard.json'][:16]}`") == 2
    assert len(list(guards.ratios({"guards": found}))) == 2
