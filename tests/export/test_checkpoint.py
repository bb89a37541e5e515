from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from harmguard_export.checkpoint import load_checkpoint
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification

from harmguard.errors import CheckpointError, TokenizerError, UnsupportedModelError


@pytest.fixture
def folder(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint"))


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        load_checkpoint(tmp_path / "none")


def test_pickles_are_refused_by_name(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin, a pickle"):
        load_checkpoint(folder)


def test_no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"no model\.safetensors"):
        load_checkpoint(folder)


def test_truncated_weights(folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[:100])
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        load_checkpoint(folder)


def test_missing_tensors_are_named(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors["classifier.weight"]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"lacks 1 tensors.*classifier\.weight"):
        load_checkpoint(folder)


def test_more_labels(folder: Path) -> None:
    names = {str(i): f"LABEL_{i}" for i in range(3)}
    edit(folder / "config.json", id2label=names, label2id={n: int(i) for i, n in names.items()})
    with pytest.raises(UnsupportedModelError, match="3 labels; expected 2"):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id2label": {"0": "safe"}}, "the only label is 'safe'"),
        ({"id2label": {"0": "x"}, "problem_type": "regression"}, "problem_type regression"),
    ],
)
def test_one_label_that_is_no_harm(folder: Path, changes: dict[str, Any], message: str) -> None:
    edit(folder / "config.json", **changes)
    with pytest.raises(UnsupportedModelError, match=message):
        load_checkpoint(folder)


def test_labels_the_other_way_round(folder: Path) -> None:
    edit(folder / "config.json", id2label={"0": "harmful", "1": "safe"})
    with pytest.raises(UnsupportedModelError, match="expected the harmful one second"):
        load_checkpoint(folder)


def test_more_token_ids_than_embeddings(folder: Path) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["added_tokens"].append(
        {**tokenizer["added_tokens"][0], "id": 5000, "content": "[NEW]"}
    )
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(UnsupportedModelError, match="expected less than the"):
        load_checkpoint(folder)


def test_damaged_metadata(folder: Path) -> None:
    (folder / "harmguard_training.json").write_text("[]")
    with pytest.raises(CheckpointError, match="no JSON object"):
        load_checkpoint(folder)


def test_max_tokens_is_the_least_that_anything_says(folder: Path) -> None:
    assert load_checkpoint(folder).encoder.max_tokens == 64
    (folder / "harmguard_training.json").write_text('{"max_tokens": 32}')
    assert load_checkpoint(folder).encoder.max_tokens == 32
    (folder / "harmguard_training.json").write_text('{"max_tokens": 4096}')
    assert load_checkpoint(folder).encoder.max_tokens == 64


def halves(kind: torch.dtype) -> Callable[[Any, Path], None]:
    return lambda model, folder: model.to(kind).save_pretrained(folder)


@pytest.mark.parametrize(
    "save",
    [
        halves(torch.float16),
        halves(torch.bfloat16),
        lambda model, folder: model.save_pretrained(folder, max_shard_size="20KB"),
    ],
    ids=["float16", "bfloat16", "sharded"],
)
def test_other_ways_to_save(folder: Path, save: Callable[[Any, Path], None]) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(str(folder))
    (folder / "model.safetensors").unlink()
    save(model, folder)
    loaded = load_checkpoint(folder)
    assert {t.dtype for t in loaded.model.parameters()} == {torch.float32}
    found = loaded.model.state_dict()["classifier.weight"]
    assert torch.allclose(found, model.state_dict()["classifier.weight"].float(), atol=1e-3)


@pytest.mark.parametrize(
    ("part", "step", "message"),
    [
        (
            "normalizer",
            {"type": "Replace", "pattern": {"Regex": "(a+)+$"}, "content": ""},
            "has Replace in normalizer with 'pattern' set",
        ),
        (
            "normalizer",
            {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"},
            "a Replace in normalizer that lengthens text",
        ),
        ("pre_tokenizer", {"type": "Sequence", "pretokenizers": [{"type": "Whitespace"}] * 40},
         "more than 32 steps"),
    ],
)  # fmt: skip
def test_a_tokenizer_that_no_bundle_may_have(
    folder: Path, part: str, step: dict[str, Any], message: str
) -> None:
    edit(folder / "tokenizer.json", **{part: step})
    with pytest.raises(TokenizerError, match=message):
        load_checkpoint(folder)
