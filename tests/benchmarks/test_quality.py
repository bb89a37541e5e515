"""benchmarks.quality on made-up rows."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from benchmarks.harness.errors import BenchmarkDataError
from benchmarks.quality import quality


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "made.jsonl"
    lines = []
    for i in range(80):
        harmful = i % 2
        prompt = "please danger" if harmful and i % 5 else "how to make bread"
        value = {"id": str(i), "prompt": prompt, "response": "", "label": harmful}
        lines.append(json.dumps({**value, "task": "prompt", "source": "made"}))
    for i in range(20):
        value = {"id": f"s{i}", "prompt": "kind danger" if i < 4 else "a bread", "response": ""}
        lines.append(json.dumps({**value, "label": 0, "task": "prompt", "source": "safe"}))
    path.write_text("\n".join(lines) + "\n")
    return path


def test_guards_side_by_side(
    needle_bundle: Path,
    small_bundle: Path,
    rows: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("sklearn")
    out = tmp_path / "quality.json"
    arguments = [str(needle_bundle), str(small_bundle), "--data", str(rows), "--out", str(out)]
    assert quality.COMMAND.main(arguments) == 0
    text = out.read_text(encoding="utf-8")
    first, second = json.loads(text)["guards"]
    assert first["sources"]["made (prompt)"]["recall"]["value"] == pytest.approx(0.8)
    assert first["sources"]["made (prompt)"]["fpr"]["value"] == 0
    assert first["one_class"]["safe (prompt)"]["flagged"]["value"] == pytest.approx(0.2)
    assert second["sources"].keys() == first["sources"].keys()
    digest = hashlib.sha256((small_bundle / "guard.json").read_bytes()).hexdigest()
    assert second["artefact"] == {"file": "guard.json", "sha256": digest}
    assert "danger" not in text
    printed = capsys.readouterr().out
    assert "0.200 [" in printed
    assert "Sets with one label" in printed


def test_no_reporting_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HARMGUARD_DATA", raising=False)
    with pytest.raises(BenchmarkDataError, match=r"HARMGUARD_DATA is not set; expected the folder"):
        quality.report_files()
    monkeypatch.setenv("HARMGUARD_DATA", str(tmp_path))
    with pytest.raises(BenchmarkDataError, match=r"holds no report/\*.jsonl.gz; expected the repo"):
        quality.report_files()
