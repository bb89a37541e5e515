"""Does distillation work? Students from soft labels, from hard ones, and with unlabelled pairs.

    python -m benchmarks distillation DATA WORK --backbone FOLDER [--jobs N]

DATA is the folder that docs/data.md describes, WORK a folder of any disk that keeps every run and
its scores (given again, the command goes on where it was stopped), FOLDER all-MiniLM-L6-v2. Every
run sees the same 12,000 rows, 3,000 of each kind and label, once, at 128 tokens. The teacher is the
mean of three minis of different seeds that learnt from hard labels, so that nothing but the labels
differs. docs/experiments.md says what came out.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any, TypedDict

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from benchmarks.harness.command import Benchmark
from benchmarks.harness.data import write_rows
from benchmarks.harness.results import INPUTS, Run, read_json, write_json
from harmguard.bench.markdown import table
from harmguard.bundle import EMBEDDED
from harmguard.core.files import new_folder, sha256_of
from harmguard.rows import Row, read_rows
from harmguard.training.corpora import mini
from harmguard.training.distil.ensemble import RowScorer
from harmguard.training.evaluate.report import evaluate
from harmguard.training.evaluate.scored import scored

ROWS_PER_CELL, MAX_TOKENS, SEED = 3000, 128, 17
KEPT_LAYERS = (1, 3, 5)  # of the six, for the student of three
SEEDS = {"mini": (0,), "3 layers": (0, 1, 2)}  # of a student; of the teacher:
TEACHER_SEEDS = (0, 1, 2)
HARD, SOFT, MORE = "hard", "soft", "soft, and unlabelled pairs"
FILES = {HARD: ["hard.jsonl"], SOFT: ["soft.jsonl"], MORE: ["soft.jsonl", "unlabelled.jsonl"]}
Settings = tuple[str, str, int]
"""Student, labels, seed."""
CONFIG = (INPUTS / "distillation.toml").read_text(encoding="utf-8")


class Quality(TypedDict):
    """AUPRC on val."""

    macro: float
    prompt: float
    exchange: float
    sources: dict[str, float]


class Student(Quality):
    """One run's."""

    student: str
    labels: str
    seed: int


class Distillation(TypedDict):
    """The raw result."""

    gpu: str | None
    val_sha256: str
    settings: dict[str, Any]
    teacher: Quality
    students: list[Student]


def arguments(parser: argparse.ArgumentParser) -> None:
    """DATA WORK, the backbone, jobs."""
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--backbone", type=Path, required=True, help="folder of all-MiniLM-L6-v2")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time (default: 1)")


def measure(run: Run) -> Distillation:
    """Train teachers and students, score val."""
    data, work, jobs = run.options.data, run.options.work, run.options.jobs
    if not (work / "data").is_dir():
        # The teachers are trained here; the bundle is what the plan of labels would name.
        mini.write(data, work / "data", run.options.backbone, EMBEDDED)
    _three_layers(work)
    drawn = _hard(work)
    teachers = _runs(work, [("mini", HARD, seed) for seed in TEACHER_SEEDS], jobs)
    _soft(data, work, drawn, list(teachers.values()))
    every = [(student, labels, seed) for student in SEEDS for labels in FILES
             for seed in SEEDS[student] if (student, labels, seed) not in teachers]  # fmt: skip
    runs = teachers | _runs(work, every, jobs)
    val = read_rows(data / "val.jsonl.gz")
    scorer = RowScorer(val)
    scores = {own: val_scores(folder, val, scorer) for own, folder in runs.items()}
    return {
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "val_sha256": sha256_of(data / "val.jsonl.gz"),
        "settings": {"rows": len(drawn), "tokens": MAX_TOKENS, "config": CONFIG},
        "teacher": _quality(val, np.mean([scores[own] for own in teachers], axis=0)),
        "students": [
            {"student": own[0], "labels": own[1], "seed": own[2], **_quality(val, scores[own])}
            for own in runs
        ],
    }


def tables(result: Distillation) -> str:
    """AUPRC on val, mean over seeds and their spread."""
    rows = [_line("teacher", "mean of mini's 3 seeds", [result["teacher"]])]
    for student in SEEDS:
        for labels in FILES:
            own = [
                r for r in result["students"] if (r["student"], r["labels"]) == (student, labels)
            ]
            rows.append(_line(student, labels, own))
    return table(["student", "labels", "seeds", "macro", "prompts", "pairs"], rows)


def _line(name: str, labels: str, figures: Sequence[Quality]) -> list[str]:
    cells = []
    for values in ([f["macro"] for f in figures], [f["prompt"] for f in figures],
                   [f["exchange"] for f in figures]):  # fmt: skip
        spread = f" ± {stdev(values):.4f}" if len(values) > 1 else ""
        cells.append(f"{mean(values):.4f}{spread}")
    return [name, labels, str(len(figures)), *cells]


def _runs(work: Path, wanted: Sequence[Settings], jobs: int) -> dict[Settings, Path]:
    """The folder of the student of each run."""
    configs = [_config(work, *run) for run in wanted]
    outs = {config: config.with_suffix("") for config in configs}
    return dict(zip(wanted, _distil(outs, jobs), strict=True))


def _config(work: Path, student: str, labels: str, seed: int) -> Path:
    """The written settings of one run."""
    start = work / ("data/student" if student == "mini" else "three")
    name = f"{student}-{labels}-{seed}".replace(", and ", "+").replace(" ", "-")
    path = work / f"{name}.toml"
    text = CONFIG.format(
        student=json.dumps(str(start.resolve())),
        tokens=MAX_TOKENS,
        train=json.dumps(FILES[labels]),
        seed=seed,
    )
    path.write_text(text, encoding="utf-8")
    return path


def _distil(runs: dict[Path, Path], jobs: int) -> list[Path]:
    """Run `harmguard train distill` for each config -> folder; the students' folders."""

    def one(item: tuple[Path, Path]) -> Path:
        config, out = item
        if (out / "student").is_dir():
            return out / "student"
        command = [sys.executable, "-m", "harmguard", "train", "distill", str(config)]
        with out.with_suffix(".log").open("w") as log:
            subprocess.run([*command, "--out", str(out)], check=True, stdout=log, stderr=log)
        return out / "student"

    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(one, runs.items()))


def _hard(work: Path) -> list[Row]:
    """The rows of every run, also in hard.jsonl."""
    rows = draw(read_rows(work / "data" / "train.jsonl"))
    if not (work / "hard.jsonl").is_file():
        write_rows(work / "hard.jsonl", rows)
    return rows


def _soft(data: Path, work: Path, drawn: Sequence[Row], teachers: Sequence[Path]) -> None:
    """Write soft.jsonl, the same rows, and unlabelled.jsonl, both with the teacher's score."""
    bare = read_rows(data / "unlabelled.jsonl.gz")
    for name, part in (("soft", drawn), ("unlabelled", bare)):
        path = work / f"{name}.jsonl"
        if not path.is_file():
            soft = RowScorer(part).scores(teachers)
            write_rows(path, [replace(r, soft=float(s)) for r, s in zip(part, soft, strict=True)])


def draw(rows: Sequence[Row]) -> list[Row]:
    """ROWS_PER_CELL rows of each kind and label, the same for the same rows."""
    rng = random.Random(SEED)
    drawn: list[Row] = []
    for kind in ("prompt", "exchange"):
        for label in (0, 1):
            drawn += rng.sample(
                [r for r in rows if r.kind == kind and r.label == label], ROWS_PER_CELL
            )
    return drawn


def _three_layers(work: Path) -> None:
    """The start of the student of three layers: every second layer of mini's start."""
    start, out = work / "data" / "student", work / "three"
    if out.is_dir():
        return
    torch.manual_seed(SEED)
    model = AutoModelForSequenceClassification.from_pretrained(
        start, id2label={0: "safe", 1: "harmful"}
    )
    layers = model.bert.encoder.layer
    model.bert.encoder.layer = torch.nn.ModuleList(layers[i] for i in KEPT_LAYERS)
    model.config.num_hidden_layers = len(KEPT_LAYERS)
    with new_folder(out) as aside:
        model.save_pretrained(aside)
        AutoTokenizer.from_pretrained(start).save_pretrained(aside)


def val_scores(student: Path, val: Sequence[Row], scorer: RowScorer) -> list[float]:
    """P(harmful) of every row of val, kept beside the run for as long as both are the same."""
    path = student.parent.with_suffix(".val.json")
    about = {
        "student": sha256_of(student / "model.safetensors"),
        "rows": hashlib.sha256(repr([row.pair for row in val]).encode()).hexdigest(),
    }
    if path.is_file():
        kept = read_json(path)
        if {key: kept[key] for key in about} == about:
            return list(kept["scores"])
    scores = [float(score) for score in scorer.scores([student])]
    write_json(path, {**about, "scores": scores})
    return scores


def _quality(val: Sequence[Row], scores: Any) -> Quality:
    """AUPRC on val: macro over sources, pooled over prompts and over pairs."""
    rows = scored(val, [float(score) for score in scores])
    report = evaluate(rows, {"prompt": 0.5, "exchange": 0.5}, resamples=10)
    return {
        "macro": report["macro"]["all"]["auprc"]["value"],
        "prompt": report["pooled"]["prompt"]["auprc"]["value"],
        "exchange": report["pooled"]["exchange"]["auprc"]["value"],
        "sources": {s["source"]: s["auprc"]["value"] for s in report["sources"] if s["in_macro"]},
    }


COMMAND = Benchmark(__name__, arguments, measure, tables, quick=False)
