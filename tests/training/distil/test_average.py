from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from harmguard.checkpoint import METADATA_FILE, load_checkpoint
from harmguard.checkpoint.folder import WEIGHTS_FILE
from harmguard.cli import main
from harmguard.errors import CheckpointError, ConfigError, OutputExistsError
from harmguard.training.distil.average import average
from tests.training import tiny


@pytest.fixture
def students(tmp_path: Path) -> tuple[Path, Path]:
    first, second = tiny.student(tmp_path / "a", "bert"), tmp_path / "b"
    (first / METADATA_FILE).write_text('{"max_tokens": 64}')
    shutil.copytree(first, second)
    weights = load_file(second / WEIGHTS_FILE)
    moved = {name: tensor + 0.5 for name, tensor in weights.items()}
    save_file(moved, second / WEIGHTS_FILE, metadata={"format": "pt"})
    return first, second


def test_weights_are_the_mean_and_the_student_loads(
    students: tuple[Path, Path], tmp_path: Path
) -> None:
    one, other = students
    out = average(one, other, tmp_path / "out", share=0.25)
    before, after = load_file(one / WEIGHTS_FILE), load_file(out / WEIGHTS_FILE)
    for name, tensor in before.items():
        torch.testing.assert_close(after[name], tensor + 0.125)
    assert 0 <= load_checkpoint(out).score_many([("hello", None)])[0] <= 1
    assert [path.name for path in tmp_path.glob(".*.part")] == []


def test_the_first_may_be_the_checkpoint_that_the_second_started_from(
    students: tuple[Path, Path], tmp_path: Path
) -> None:
    start, student = students
    (start / METADATA_FILE).unlink()
    out = average(start, student, tmp_path / "out")
    assert (out / METADATA_FILE).read_bytes() == (student / METADATA_FILE).read_bytes()
    with pytest.raises(CheckpointError, match=r"a has no harmguard_training\.json; expected a st"):
        average(student, start, tmp_path / "other")


def test_a_backbone_without_a_head_gets_the_student_s(
    students: tuple[Path, Path], tmp_path: Path
) -> None:
    start, student = students
    whole, heads = load_file(start / WEIGHTS_FILE), ("classifier.", "bert.pooler.")
    backbone = {
        name.removeprefix("bert."): tensor
        for name, tensor in whole.items()
        if not name.startswith(heads)
    }
    save_file(backbone, start / WEIGHTS_FILE, metadata={"format": "pt"})
    after = load_file(average(start, student, tmp_path / "out", share=0.75) / WEIGHTS_FILE)
    for name, tensor in whole.items():
        gain = 0.5 if name.startswith(heads) else 0.375
        torch.testing.assert_close(after[name], tensor + gain)
    other = {"layers." + name: tensor for name, tensor in backbone.items()}
    save_file(other, start / WEIGHTS_FILE, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="have different tensors; expected two runs of one"):
        average(start, student, tmp_path / "another")


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_share_of_all_or_nothing_is_one_of_them(
    students: tuple[Path, Path], tmp_path: Path, share: float
) -> None:
    out = average(*students, tmp_path / "out", share=share)
    wanted = load_file(students[int(share)] / WEIGHTS_FILE)
    for name, tensor in load_file(out / WEIGHTS_FILE).items():
        torch.testing.assert_close(tensor, wanted[name])


def test_a_temperature_divides_the_logits(students: tuple[Path, Path], tmp_path: Path) -> None:
    one, other = students
    out = average(one, other, tmp_path / "out", share=0.0, temperature=4.0)
    windows = load_checkpoint(one).encoder.encode("hello there").windows
    before, after = (load_checkpoint(folder).logits(windows) for folder in (one, out))
    np.testing.assert_allclose(after, before / 4.0, atol=1e-6)


@pytest.mark.parametrize("family", ["MPNet", "Roberta", "Electra"])
def test_a_head_of_two_layers_is_divided_once(tmp_path: Path, family: str) -> None:
    sizes = {
        "vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 40, "max_position_embeddings": 64, "embedding_size": 32,
    }  # fmt: skip
    config = getattr(transformers, f"{family}Config")(**sizes)
    model = getattr(transformers, f"{family}ForSequenceClassification")(config)
    model.save_pretrained(tmp_path / "a")
    (tmp_path / "a" / METADATA_FILE).write_text("{}")
    average(tmp_path / "a", tmp_path / "a", tmp_path / "out", temperature=2.0)
    before, after = (load_file(tmp_path / name / WEIGHTS_FILE) for name in ("a", "out"))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"classifier.out_proj.weight"}  # its bias is still 0
    name = changed.pop()
    torch.testing.assert_close(after[name], before[name] / 2.0)


def test_errors(
    students: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = students
    with pytest.raises(ConfigError, match=r"share is 1\.5; expected a number from 0 to 1"):
        average(one, other, tmp_path / "out", share=1.5)
    with pytest.raises(ConfigError, match="temperature is 0; expected a number above 0"):
        average(one, other, tmp_path / "out", temperature=0.0)
    with pytest.raises(OutputExistsError, match="b' exists; expected a new path"):
        average(one, other, other)
    weights = load_file(other / WEIGHTS_FILE)
    save_file({"classifier.bias": weights["classifier.bias"]}, other / WEIGHTS_FILE)
    with pytest.raises(CheckpointError, match="a and b have different tensors; expected two runs"):
        average(one, other, tmp_path / "out")
    bare = {name: tensor for name, tensor in weights.items() if name != "classifier.bias"}
    for folder in students:
        save_file(bare, folder / WEIGHTS_FILE)
    with pytest.raises(CheckpointError, match=r"b has no tensor classifier\.bias; expected a lin"):
        average(one, other, tmp_path / "out")
    (other / WEIGHTS_FILE).unlink()
    with pytest.raises(CheckpointError, match=r"b has no model\.safetensors; expected a student"):
        average(one, other, tmp_path / "out")
    assert main(["train", "average", str(tmp_path / "out"), str(one), str(other)]) == 3
    assert "CheckpointError: b has no model.safetensors" in capsys.readouterr().err
    assert main(["train", "average", str(tmp_path / "out"), str(one)]) == 2
    assert "harmguard train average" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
