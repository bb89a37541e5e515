from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harmguard import HarmGuard
from harmguard.checkpoint import load_checkpoint
from harmguard.cli import main
from harmguard.errors import CheckpointError, ConfigError, DataError, UnknownThresholdError
from harmguard.rows import read_rows
from harmguard.training.evaluate.scoring import evaluate_guard
from tests.training.tiny import student

Writer = Callable[..., Path]


def few(n: int = 60) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    for i in range(n):
        label, word = i % 2, int(rng.integers(0, 50)) + 30 * (i % 2)
        response = "" if i % 3 else f"word{word:02}"
        row = {"id": f"r{i}", "prompt": f"word{word:02}", "response": response, "label": label}
        rows.append({**row, "source": f"s{i % 3}", "task": "response" if response else "prompt"})
    return rows


def test_a_bundle_is_scored_through_the_public_api(word_bundle: Path, write_rows: Writer) -> None:
    path = write_rows(few())
    lines, report = evaluate_guard(word_bundle, [path], threads=1)
    rows = read_rows(path)
    with HarmGuard(word_bundle, threads=1) as guard:
        verdicts = guard.check_many([row.pair for row in rows])
    assert [line.score for line in lines] == [v.score for v in verdicts]
    assert [line.tokens for line in lines] == [v.tokens for v in verdicts]
    assert [(line.id, line.kind) for line in lines] == [(row.id, row.kind) for row in rows]
    assert report["thresholds"] == {"prompt": 0.5, "exchange": 0.7}
    assert report["guard"]["name"] == "words"
    assert report["data"][0] | {"sha256": ""} == {"name": "set.jsonl", "sha256": "", "rows": 60}
    flagged = [v.harmful for v, row in zip(verdicts, rows, strict=True) if row.kind == "exchange"]
    of_kind = report["pooled"]["exchange"]
    hits = (
        of_kind["recall"]["value"] * of_kind["harmful"] + of_kind["fpr"]["value"] * of_kind["safe"]
    )
    assert hits == pytest.approx(sum(flagged), abs=1e-4)


def test_a_long_text_has_its_windows(word_bundle: Path, write_rows: Writer) -> None:
    text = "word40 " * 600
    path = write_rows([{"prompt": text, "label": 0}, {"prompt": text + "word79", "label": 1}])
    lines, report = evaluate_guard(word_bundle, [path], threads=1)
    assert lines[0].windows is not None
    assert lines[0].windows > 40
    assert [round(line.score, 4) for line in lines] == [0.5, 0.9491]  # sigmoid(5.85 / 2)
    assert report["lengths"][0]["tokens"] == ">512"


def test_a_checkpoint_is_scored_in_torch(tmp_path: Path, write_rows: Writer) -> None:
    folder = student(tmp_path / "student", "bert")
    prompts = ["bake bread", "a rude fool", "milk and honey " * 40, "ugly hat"]
    path = write_rows([{"prompt": text, "label": i % 2} for i, text in enumerate(prompts)])
    lines, report = evaluate_guard(folder, [path], threshold="0.4")
    expected = load_checkpoint(folder).score_many([(text, None) for text in prompts])
    assert [line.score for line in lines] == pytest.approx(expected.tolist(), abs=1e-6)
    assert (lines[0].tokens, lines[0].windows) == (2, 1)
    assert (lines[2].windows or 0) > 1
    assert report["guard"]["model"] == "checkpoint, fp32"
    assert len(report["guard"]["sha256"]) == 64
    assert report["thresholds"] == {"prompt": 0.4}


@pytest.mark.parametrize("faster", [False, True])
def test_a_checkpoint_in_bfloat16_where_that_is_faster(
    tmp_path: Path, write_rows: Writer, monkeypatch: pytest.MonkeyPatch, faster: bool
) -> None:
    monkeypatch.setattr("harmguard.training.evaluate.scoring.has_bf16", lambda: faster)
    folder = student(tmp_path / "student", "bert")
    path = write_rows([{"prompt": t, "label": i % 2} for i, t in enumerate(["bake", "rude fool"])])
    exact, _ = evaluate_guard(folder, [path])
    lines, report = evaluate_guard(folder, [path], precision="auto")
    assert report["guard"]["model"] == f"checkpoint, {'bf16' if faster else 'fp32'}"
    differences = [abs(a.score - b.score) for a, b in zip(exact, lines, strict=True)]
    assert (max(differences) > 0) is faster
    assert max(differences) < 0.02


def test_several_files_are_one_report(word_bundle: Path, write_rows: Writer) -> None:
    paths = [write_rows(few(20), name="a.jsonl"), write_rows(few(30), name="b.jsonl")]
    lines, report = evaluate_guard(word_bundle, paths, threads=1)
    assert len(lines) == report["rows"] == 50
    assert [d["rows"] for d in report["data"]] == [20, 30]


def test_the_command(
    word_bundle: Path, write_rows: Writer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report"
    path = str(write_rows(few()))
    command = ["eval", str(word_bundle), path, "--out", str(out), "--threads", "1"]
    assert main(command) == 0
    assert (out / "report.md").read_text() + "\n" == capsys.readouterr().out
    assert json.loads((out / "report.json").read_text())["rows"] == 60
    assert main(command) == 3
    assert "report' exists; expected a new path" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("threshold", "error", "message"),
    [
        ("1.5", ConfigError, "threshold 1.5; expected a number from 0 to 1"),
        ("nan", ConfigError, "threshold nan"),
        ("fpr_1", UnknownThresholdError, "threshold 'fpr_1'; this bundle has default"),
    ],
)
def test_another_threshold_is_an_error(
    word_bundle: Path, write_rows: Writer, threshold: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        evaluate_guard(word_bundle, [write_rows(few())], threshold=threshold, threads=1)


def test_a_checkpoint_has_no_named_thresholds(tmp_path: Path, write_rows: Writer) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match="'fpr_1' for a checkpoint; expected a number"):
        evaluate_guard(tmp_path, [write_rows(few())], threshold="fpr_1")


def test_another_folder_is_an_error(tmp_path: Path, write_rows: Writer) -> None:
    with pytest.raises(CheckpointError, match=r"neither guard\.json nor config\.json"):
        evaluate_guard(tmp_path, [write_rows(few())])


def test_a_missing_label_shows_before_scoring(tmp_path: Path, write_rows: Writer) -> None:
    with pytest.raises(DataError, match="no column label; found prompt"):
        evaluate_guard(tmp_path, [write_rows([{"prompt": "word01"}])])


def test_a_text_that_the_guard_refuses_is_an_error(word_bundle: Path, write_rows: Writer) -> None:
    rows = [*few(4), {"prompt": "a" * 10_001, "label": 0}]
    with pytest.raises(DataError, match="rows counted from 0: ") as caught:
        evaluate_guard(word_bundle, [write_rows(rows)], threads=1)
    assert "aaa" not in str(caught.value)
