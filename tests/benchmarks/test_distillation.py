"""benchmarks.training.distillation: what its runs are given, and the table of what came out."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from benchmarks.harness.data import write_rows
from benchmarks.training import distillation
from harmguard.rows import Row, read_rows
from harmguard.training.distil.ensemble import RowScorer

FIGURES = {"macro": 0.5, "prompt": 0.6, "exchange": 0.7}
BETTER = {name: value + 0.1 for name, value in FIGURES.items()}


def rows(count: int) -> list[Row]:
    """`count` rows of each kind and label."""
    return [
        Row(f"{label}-{i}-{response}", f"request {i}", response, label)
        for response in (None, "an answer")
        for label in (0, 1)
        for i in range(count)
    ]


def test_as_many_rows_of_each_kind_and_label_are_drawn_every_time() -> None:
    drawn = distillation.draw(rows(3005))
    assert set(Counter((row.kind, row.label) for row in drawn).values()) == {3000}
    assert len(set(map(str, drawn))) == 12_000
    assert drawn == distillation.draw(rows(3005))


def test_too_few_rows_of_a_cell_are_an_error() -> None:
    with pytest.raises(ValueError, match="larger than population"):
        distillation.draw(rows(2999))


def test_written_rows_are_read_again_with_their_soft_labels(tmp_path: Path) -> None:
    path = tmp_path / "soft.jsonl"
    wanted = [Row("1", "bread?", "Flour.", 0, soft=0.25), Row("2", "bread?", None, None, soft=0.5)]
    write_rows(path, wanted)
    assert read_rows(path) == wanted
    assert [one.name for one in tmp_path.iterdir()] == ["soft.jsonl"]


def test_runs_differ_in_labels_and_seed_alone(tmp_path: Path) -> None:
    wanted = [("mini", labels, 1) for labels in distillation.FILES] + [("3 layers", "soft", 2)]
    paths = [distillation._config(tmp_path, *run) for run in wanted]
    assert len({path.with_suffix("") for path in paths}) == 4
    configs = [tomllib.loads(path.read_text()) for path in paths]
    assert [one["data"].pop("train") for one in configs] == [
        ["hard.jsonl"],
        ["soft.jsonl"],
        ["soft.jsonl", "unlabelled.jsonl"],
        ["soft.jsonl"],
    ]
    assert configs[0] == configs[1] == configs[2]
    assert (configs[0]["optim"].pop("seed"), configs[3]["optim"].pop("seed")) == (1, 2)
    assert Path(configs[0]["student"].pop("path")).name == "student"
    assert Path(configs[3]["student"].pop("path")).name == "three"
    assert configs[0] == configs[3]


def test_a_table_of_students_gives_means_and_spreads() -> None:
    seeds = {("mini", "hard"): (0, 1, 2)}
    students = [
        {"student": name, "labels": labels, "seed": seed, **(BETTER if seed else FIGURES)}
        for name, own in distillation.SEEDS.items()
        for labels in distillation.FILES
        for seed in seeds.get((name, labels), own)
    ]
    result: Any = {"teacher": BETTER, "students": students}
    lines = [re.sub(" +", " ", line) for line in distillation.tables(result).splitlines()]
    assert lines[2] == "| teacher | mean of mini's 3 seeds | 1 | 0.6000 | 0.7000 | 0.8000 |"
    assert lines[3].startswith("| mini | hard | 3 | 0.5667 ± 0.0577 |")
    assert lines[4] == "| mini | soft | 1 | 0.5000 | 0.6000 | 0.7000 |"
    assert len(lines) == 9


def test_scores_of_val_are_kept_for_the_same_student_and_rows(tmp_path: Path) -> None:
    class Counted:
        asked = 0

        def scores(self, teachers: Sequence[Path]) -> list[float]:
            self.asked += 1
            return [0.25, self.asked / 8]

    scorer, student = Counted(), tmp_path / "mini-hard-0" / "student"
    student.mkdir(parents=True)
    (student / "model.safetensors").write_bytes(b"weights")
    val = rows(1)

    def found(val: Sequence[Row]) -> list[float]:
        return distillation.val_scores(student, val, cast(RowScorer, scorer))

    assert found(val) == found(val) == [0.25, 0.125]
    assert found(val[1:]) == [0.25, 0.25]
    (student / "model.safetensors").write_bytes(b"other")
    assert found(val[1:]) == [0.25, 0.375]
    assert found([replace(row, prompt="other") for row in val[1:]]) == [0.25, 0.5]
    assert scorer.asked == 4
