"""benchmarks.performance.startup: fresh processes on a tiny bundle."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks.performance import startup


def test_a_quick_run(
    small_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(startup, "QUICK_STARTS", 2)
    out = tmp_path / "startup.json"
    assert startup.COMMAND.main([str(small_bundle), "--quick", "--out", str(out)]) == 0
    found = json.loads(out.read_text(encoding="utf-8"))
    assert (found["benchmark"], found["quick"], found["threads"]) == ("startup", True, 2)
    assert found["startup_s"]["total"]["n"] == 2
    memory = found["memory_mb"]
    assert (memory["after_batch"] is not None) == (sys.platform == "linux")
    if sys.platform == "linux":
        assert memory["batch_peak"] >= memory["after_batch"] > 1
        assert memory["after_callers"] > 1
    assert set(found["idle_cpu_ms"]) == {"1", "2"}
    assert all(0 <= ms < 10_000 for ms in found["idle_cpu_ms"].values())
    out_text = capsys.readouterr().out
    assert out_text.startswith("| step ")
    assert "a second after 8 threads that scored" in out_text
    assert "| threads 2 " in out_text
