"""benchmarks.startup: fresh processes on a tiny bundle."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks import startup
from benchmarks._errors import WorkerError


def test_a_quick_run(
    small_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "startup.json"
    assert startup.main([str(small_bundle), "--quick", "--out", str(out)]) == 0
    found = json.loads(out.read_text(encoding="utf-8"))
    assert (found["benchmark"], found["quick"], found["threads"]) == ("startup", True, 2)
    assert len(found["starts_s"]) == found["startup_s"]["total"]["n"] == startup.QUICK_STARTS
    for one in found["starts_s"]:
        steps = sum(one[step] for step in startup.STEPS if step != "total")
        assert one["total"] == pytest.approx(steps)
    memory = found["memory_mb"]
    assert (memory["after_batch"] is not None) == (sys.platform == "linux")
    if sys.platform == "linux":
        assert memory["batch_peak"] >= memory["long_score"] > 1
    assert capsys.readouterr().out.startswith("| step | median s |")


def test_a_process_that_fails() -> None:
    with pytest.raises(WorkerError, match=r"fresh process ended with exit status 1 \(start\)"):
        startup._child(["start", "no/such/folder", "1", "a", "b"], 1)
