"""The smoke plan from start to finish, and the same with every stage killed once."""

from __future__ import annotations

import json
import shutil
import signal
import statistics
import time
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from harmguard.errors import StageError
from harmguard.rows import read_rows
from harmguard.training.harmaug.generate import generate
from harmguard.training.harmaug.label import label
from harmguard.training.harmaug.plan import ROWS, Plan, read_plan
from harmguard.training.harmaug.respond import respond
from harmguard.training.harmaug.run import run, spread, table
from harmguard.training.harmaug.smoke import make_models
from tests import processes

FOLDER = Path(str(files("harmguard.training.harmaug") / "plans"))
FINAL = [
    *(f"{stage}/{name}.jsonl" for stage in ("generate", "respond", "label")
      for name in ("rows", "rejects")),
    *(f"{stage}/manifest.json" for stage in ("generate", "respond", "label")),
    "generate/diversity.png", "distill-0/eval.json", "distill-1/eval.json", "report.json",
]  # fmt: skip


@pytest.fixture(scope="module")
def whole(smoke_models: Path) -> Path:
    """The folder of an uninterrupted run."""
    run("smoke", smoke_models)
    return smoke_models


def test_the_smoke_plan_works(whole: Path) -> None:
    report = json.loads((whole / "report.json").read_text())
    made = report["summaries"]["generate"]
    assert made["harmful"]["kept"] >= 48
    assert made["harmful"]["removed"]  # the filters had something to do
    assert made["acceptance"]["with_prefix"] > 0.7
    assert made["acceptance"]["without_prefix"] == 0.0
    assert report["summaries"]["label"]["agreement_with_hard_labels"] > 0.95
    assert report["spread"]["auprc"]["mean"] > 0.9
    assert [student["seed"] for student in report["students"]] == [0, 1]
    rows = (whole / "label" / "rows.jsonl").read_text().splitlines()
    assert len(rows) == report["summaries"]["label"]["labelled"] > 100
    assert "auprc" in table(report)


def test_the_same_rows_in_parquet(smaller: Plan, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    for kind in ROWS:
        plan, out = replace(smaller, rows=kind), tmp_path / kind
        generate(plan, out / "generate")
        respond(plan, out / "generate" / plan.rows_file, out / "respond")
        found = label(plan, [out / "respond" / plan.rows_file], out / "label")
        assert set(found["outputs"]) == {f"rows.{kind}", "rejects.jsonl"}
    one, two = (read_rows(tmp_path / kind / "label" / f"rows.{kind}") for kind in ROWS)
    assert one == two
    with pytest.raises(StageError, match="a run with another rows"):
        generate(replace(smaller, rows="jsonl"), tmp_path / "parquet" / "generate")


def command(out: Path) -> list[str]:
    return ["-m", "harmguard", "train", "run", "smoke", "--out", str(out)]


def kill_in(out: Path, stage: str, folder: Path) -> None:
    """Start the plan and kill it once `stage` has begun to write."""
    process = processes.start(command(out), cwd=folder)

    def begun() -> bool:
        if stage.startswith("distill"):
            return (out / stage / "checkpoints").is_dir()  # made just before the first step
        journal = out / stage / "journal.jsonl"
        return journal.is_file() and journal.stat().st_size > 0

    while not begun() and process.is_alive():
        time.sleep(0.001)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL, f"{stage} was over before the kill"


def test_every_stage_killed_once_gives_the_same_files(whole: Path, tmp_path: Path) -> None:
    out, elsewhere = tmp_path / "killed", tmp_path / "cwd"
    elsewhere.mkdir()
    # The models are made in the same way for both, which the test below shows.
    shutil.copytree(whole / "models", out / "models")
    for stage in ("generate", "respond", "label", "distill-0", "distill-1"):
        kill_in(out, stage, elsewhere)
        assert not (out / stage / "manifest.json").exists()
        assert not (out / stage / "student").exists()
    done = processes.run(command(out), cwd=elsewhere)
    assert done.returncode == 0, done.stderr
    assert "auprc" in done.stdout
    for name in FINAL:
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name
    assert list(elsewhere.iterdir()) == []


def test_models_that_a_kill_left_half_made_are_made_again(
    smoke_models: Path, tmp_path: Path
) -> None:
    models = tmp_path / "models"
    shutil.copytree(smoke_models / "models", models)
    shutil.rmtree(models / "student")
    (models / ".student.00000099.part").mkdir()
    make_models(read_plan("smoke", tmp_path), models)
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        again, first = (f / "student" / name for f in (models, smoke_models / "models"))
        assert again.read_bytes() == first.read_bytes()
    assert not list(models.glob(".*"))


def with_evaluate(plan: Path, sets: list[Path]) -> Path:
    """The smoke plan in a file of its own, with other sets to measure on."""
    text = (FOLDER / "smoke.toml").read_text(encoding="utf-8")
    text = text.replace("smoke_rows.jsonl", str(FOLDER / "smoke_rows.jsonl"))
    names = json.dumps([str(file) for file in sets])
    plan.write_text(text.replace('["smoke_eval.jsonl"]', names), encoding="utf-8")
    return plan


def test_without_sets_to_measure_on_every_seed_is_trained(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "moved"
    shutil.copytree(whole, out)
    shutil.rmtree(out / "distill-1")
    report = run(str(with_evaluate(tmp_path / "r.toml", [])), out)
    assert (out / "distill-1" / "student" / "model.safetensors").is_file()
    assert json.loads((out / "distill-0" / "eval.json").read_text())["sources"] == []
    assert report["students"] == [{"seed": s, "mean": {}, "sources": []} for s in (0, 1)]
    assert report["spread"] == {}
    assert table(report) == "seed 0: not measured\nseed 1: not measured"


def test_figures_of_other_sets_or_another_student_are_not_kept(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "moved"
    shutil.copytree(whole, out)
    kept = out / "distill-0" / "eval.json"

    def measured(plan: Path) -> tuple[int, dict[str, Any]]:
        run(str(plan), out)
        return kept.stat().st_mtime_ns, json.loads(kept.read_text())

    before, first = kept.stat().st_mtime_ns, json.loads(kept.read_text())
    same = with_evaluate(tmp_path / "same.toml", [FOLDER / "smoke_eval.jsonl"])
    assert measured(same) == (before, first)
    lines = (FOLDER / "smoke_eval.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "fewer.jsonl").write_text("".join(lines[1:]))
    fewer = with_evaluate(tmp_path / "fewer.toml", [tmp_path / "fewer.jsonl"])
    assert measured(fewer)[1]["data"][0]["rows"] == len(lines) - 1
    for edited in ({**first, "guard": {"sha256": "0"}}, {}):
        kept.write_text(json.dumps(edited))
        assert measured(same)[1] == first


def test_the_spread_over_seeds() -> None:
    students: list[dict[str, Any]] = [
        {"seed": seed, "mean": {"f1": value, "auprc": value / 2}} for seed, value in
        enumerate((0.5, 0.7, 0.6))
    ]  # fmt: skip
    found = spread(students)
    assert found["f1"]["mean"] == pytest.approx(0.6)
    assert found["f1"]["deviation"] == pytest.approx(statistics.stdev((0.5, 0.7, 0.6)))
    assert spread([students[0]])["auprc"] == {"mean": 0.25, "deviation": 0.0}
    assert "f1: 0.6000 +- 0.1000 over 3 seeds" in table({"students": students, "spread": found})
