from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import TrainerControl, TrainerState, TrainingArguments

from harmguard.cli import main
from harmguard.errors import ConfigError, DivergedError, TrainingWarning
from harmguard.rows import Row
from harmguard.training.distil.checks import FiniteGradients, check_loss, check_weights, warnings_of
from harmguard.training.distil.config import Config, Data, Optim, Student
from harmguard.training.distil.distill import distill
from tests.training import tiny

CONFIG = Config(Student("s"), Data(["rows"]), optim=Optim(batch_rows=2, warmup_steps=1))
ROWS = [Row(str(i), f"text {i}", None, i % 2) for i in range(4)]


def said(config: Config = CONFIG, rows: list[Row] = ROWS, steps: int = 6) -> str:
    return "\n".join(warnings_of(config, rows, steps))


def test_nothing_is_said_where_nothing_is_wrong() -> None:
    assert said() == ""


def test_fewer_rows_than_a_batch() -> None:
    config = replace(CONFIG, optim=replace(CONFIG.optim, batch_rows=8))
    assert "4 rows are fewer than a batch of 8: each step repeats some" in said(config)


def test_a_warm_up_longer_than_the_run() -> None:
    config = replace(CONFIG, optim=replace(CONFIG.optim, warmup_steps=6))
    assert "warmup_steps is 6 and the run has 6 steps (2 an epoch)" in said(config)


def test_one_label_only() -> None:
    assert "all 2 rows have label 1; expected harmful and safe rows" in said(rows=ROWS[1::2])


def test_rows_of_train_in_what_is_held_out(tmp_path: Path) -> None:
    val = tmp_path / "val.csv"
    val.write_text('prompt,response,label\nother,,1\n" TEXT   2 ",,1\ntext 1,an answer,0\n')
    config = replace(CONFIG, data=replace(CONFIG.data, held_out=[str(val)]))
    assert said(config) == (
        "1 of 3 rows of val.csv are trained on, the first of them row 2; expected none: its "
        "figures will be too good"
    )


def test_a_run_says_so_before_it_starts(tmp_path: Path) -> None:
    config = tiny.distillation(tmp_path, "bert", rows=8)
    with pytest.warns(TrainingWarning, match="8 rows are fewer than a batch of 32"):
        student = distill(config, tmp_path / "run")
    assert (student / "model.safetensors").is_file()


def test_a_loss_that_is_not_finite_leaves_no_student(tmp_path: Path) -> None:
    config = tiny.distillation(tmp_path, "bert", rows=64, epochs=4, lr=1e30, clip_norm=0.0)
    with pytest.raises(DivergedError, match=r"(loss|gradient|last step).* not finite; .*optim\.lr"):
        distill(config, tmp_path / "run")
    assert not (tmp_path / "run" / "student").exists()


def test_a_gradient_that_is_not_finite_stops_before_the_step(tmp_path: Path) -> None:
    layer = torch.nn.Linear(2, 2)
    arguments = (TrainingArguments(str(tmp_path)), TrainerState(global_step=4), TrainerControl())
    check = FiniteGradients(CONFIG)
    layer(torch.ones(1, 2)).sum().backward()
    check.on_pre_optimizer_step(*arguments, model=layer)
    # Finite weights and a finite loss, and a gradient beyond float32.
    (layer(torch.full((1, 2), 1e25)) * 1e20).sum().backward()
    with pytest.raises(DivergedError, match="a gradient of step 5 is not finite"):
        check.on_pre_optimizer_step(*arguments, model=layer)


def test_what_is_not_finite_is_named() -> None:
    check_loss(torch.tensor(1.0), 1, CONFIG)
    for value in (float("nan"), float("inf")):
        with pytest.raises(
            DivergedError, match=r"the loss of step 7 is not finite; .*3e-05 is too"
        ):
            check_loss(torch.tensor(value), 7, CONFIG)
    layer = torch.nn.Linear(2, 2)
    check_weights(layer, CONFIG)
    with torch.no_grad():
        layer.bias[1] = float("inf")
    with pytest.raises(DivergedError, match="bias after the last step is not finite"):
        check_weights(layer, CONFIG)


def test_another_config_is_named_by_its_key(tmp_path: Path) -> None:
    config = tiny.distillation(tmp_path, "bert", rows=32)
    distill(config, tmp_path / "run")
    other = replace(config, optim=replace(config.optim, lr=1.0))
    with pytest.raises(ConfigError, match=r"another config\.optim\.lr \(0\.01 there, 1\.0 here\)"):
        distill(other, tmp_path / "run")
    carded = replace(config, card={"name": "x"})
    with pytest.raises(ConfigError, match=r"config\.card\.name \(None there, 'x' here\)"):
        distill(carded, tmp_path / "run")
    # What is only checked decides nothing.
    held = replace(config, data=replace(config.data, held_out=[config.data.train[0]]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert distill(held, tmp_path / "run") == tmp_path / "run" / "student"


def test_a_diverged_run_is_an_error_of_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tiny.config_file(tmp_path, epochs=3)
    text = config.read_text().replace("lr = 1e-3", "lr = 1e30\nclip_norm = 0.0")
    config.write_text(text)
    assert main(["train", "distill", str(config), "--out", str(tmp_path / "run")]) == 3
    err = capsys.readouterr().err
    assert "harmguard: DivergedError: " in err
    assert "Traceback" not in err
    assert json.loads((tmp_path / "run" / "run.json").read_text())["rows"] == 64
