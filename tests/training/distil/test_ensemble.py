from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from harmguard.checkpoint import load_checkpoint
from harmguard.cli import main
from harmguard.errors import ConfigError, OutputExistsError
from harmguard.rows import Row, read_rows
from harmguard.training.distil import ensemble
from harmguard.training.distil.ensemble import RowScorer, label, open_scorer
from harmguard.training.harmaug.inference import Judge
from harmguard.training.harmaug.plan import Engine, Label
from harmguard.training.models import Model
from tests.training import tiny

ROWS = [
    Row("1", "how do i bake bread", None, 0),
    Row("2", "you are a rude fool", "please nobody likes", None),
    Row("3", "bread " * 200, None, 1),
]


@pytest.fixture(scope="module")
def teachers(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("teachers")
    found = [tiny.student(folder / name, "bert") for name in ("a", "b")]
    weights = load_file(found[1] / "model.safetensors")
    weights["classifier.weight"] = torch.flip(weights["classifier.weight"], [0]) * 2
    save_file(weights, found[1] / "model.safetensors", metadata={"format": "pt"})
    return found


def test_scores_are_the_mean_of_the_teachers(teachers: list[Path]) -> None:
    each = [load_checkpoint(t).score_many([row.pair for row in ROWS]) for t in teachers]
    scorer = RowScorer(ROWS)
    np.testing.assert_allclose(scorer.scores(teachers), np.mean(each, axis=0), atol=1e-6)
    # The second time nothing is encoded again, and nothing changes.
    np.testing.assert_allclose(scorer.scores(teachers[1:]), each[1], atol=1e-6)
    assert float(np.abs(each[0] - each[1]).max()) > 0.01


def test_a_scorer_is_on_the_gpu_where_there_is_one(
    teachers: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[dict[str, Any]] = []
    monkeypatch.setattr(ensemble, "load_checkpoint", lambda *_, **options: made.append(options))
    for gpu in (False, True):
        monkeypatch.setattr(torch.cuda, "is_available", lambda found=gpu: found)
        open_scorer(teachers[0])
        Judge(Engine(), Label(Model(str(teachers[0])), kind="classifier")).open()
    assert [options["device"] for options in made] == ["cpu", "cpu", "cuda", "cuda"]


def test_rows_keep_all_they_had_and_get_soft(teachers: list[Path], tmp_path: Path) -> None:
    source, out = tmp_path / "rows.jsonl", tmp_path / "soft.jsonl"
    source.write_text("".join(json.dumps(asdict(row)) + "\n" for row in ROWS))
    teacher_names = [str(teacher) for teacher in teachers]
    command = ["train", "ensemble", str(out), str(source), "--teachers", *teacher_names]
    assert main(command) == 0
    rows = read_rows(out)
    soft = np.array([row.soft for row in rows], np.float32)
    np.testing.assert_allclose(soft, RowScorer(ROWS).scores(teachers), atol=1e-6)
    assert [(r.id, r.pair, r.label) for r in rows] == [(r.id, r.pair, r.label) for r in ROWS]
    assert [path.name for path in tmp_path.glob(".*.part")] == []


def test_no_teacher_and_an_output_that_exists(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no teachers; expected at least one"):
        RowScorer(ROWS).scores([])
    out = tmp_path / "soft.jsonl"
    out.touch()
    with pytest.raises(OutputExistsError, match=r"soft\.jsonl' exists"):
        label([tmp_path], [tmp_path], out)
    assert main(["train", "ensemble", str(out), str(out), "--teachers", str(tmp_path)]) == 3
    assert main(["train", "ensemble", str(out), str(out)]) == 2


@pytest.mark.parametrize("faster", [True, False])
def test_bfloat16_is_for_cpus_that_are_faster_in_it(
    teachers: list[Path], monkeypatch: pytest.MonkeyPatch, faster: bool
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(ensemble, "has_bf16", lambda: faster)
    assert open_scorer(teachers[0], narrow=True).bf16 is faster
    assert not open_scorer(teachers[0]).bf16
    narrow = RowScorer(ROWS, narrow=True).scores(teachers)
    np.testing.assert_allclose(narrow, RowScorer(ROWS).scores(teachers), atol=0.02)
