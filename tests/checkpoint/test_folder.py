"""Folders that are no whole checkpoint of plain weights: each by its name, before it is loaded."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification

from harmguard.checkpoint import load_checkpoint, load_student, read_metadata
from harmguard.errors import CheckpointError

LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
Damage = Callable[[Path], object]


@pytest.fixture
def folder(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint"))


def edit(name: str, **changes: Any) -> Damage:
    def damage(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return damage


def write(name: str, text: str) -> Damage:
    return lambda folder: (folder / name).write_text(text)


def rename(old: str, new: str) -> Damage:
    return lambda folder: (folder / old).rename(folder / new)


def cut(folder: Path, size: int) -> None:
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[:size])


def weights(change: Callable[[dict[str, torch.Tensor]], object], kind: str = "pt") -> Damage:
    def damage(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors", {"format": kind})

    return damage


def sharded(folder: Path) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(str(folder))
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="20KB")


def lost_shard(folder: Path) -> None:
    sharded(folder)
    next(folder.glob("model-00001*")).unlink()


def foreign_shard(folder: Path) -> None:
    sharded(folder)
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    path.write_text(json.dumps({**index, "weight_map": {"a": "../other.safetensors"}}))


DAMAGES: list[tuple[Damage, str]] = [
    (rename("config.json", "old.json"), r"has no config\.json; expected a folder as transformers"),
    (write("config.json", "{"), r"config\.json holds no JSON object; .*half-copied"),
    (write("config.json", LFS), r"config\.json is a git-lfs pointer; .*git lfs pull"),
    (edit("config.json", model_type=None), "names no model_type; .*another library's model"),
    (edit("config.json", model_type="brand-new"), "'brand-new' is unknown to transformers [45]"),
    (edit("config.json", model_type="whisper_x"), "is unknown to transformers"),
    (edit("config.json", model_type="vit"), "no sequence classifier of model_type 'vit'"),
    (edit("config.json", auto_map={"AutoConfig": "m.C"}), r"config\.json has an auto_map, .*code"),
    (edit("tokenizer_config.json", auto_map={"AutoTokenizer": ["t.T", None]}),
     r"tokenizer_config\.json has an auto_map"),
    (edit("config.json", attn_implementation="kernels-x/flash"), "names a kernel of the hub"),
    (edit("config.json", text={"_attn_implementation_internal": "a/b@main:f"}), "kernel of the"),
    (edit("config.json", quantization_config={"quant_method": "gptq"}), "a quantization_config"),
    (edit("config.json", hidden_size="wide"), r"cannot be loaded \("),
    (edit("config.json", hidden_size=64), r"cannot be loaded|in another shape"),
    (edit("config.json", id2label={"a": "b"}), r"cannot be loaded \(ValueError"),
    (write("adapter_config.json", "{}"), r"an adapter .*merge it first, with peft's"),
    (rename("model.safetensors", "pytorch_model.bin"), r"pytorch_model\.bin, a pickle"),
    (rename("model.safetensors", "x"), r"no model\.safetensors; expected it, or its index"),
    (write("model.safetensors", LFS), r"model\.safetensors is a git-lfs pointer"),
    (write("model.safetensors", "hello"), "cannot be loaded: it has no header of safetensors"),
    (lambda f: cut(f, 100), "cannot be loaded: it has no header of safetensors"),
    (lambda f: cut(f, 9000), "cannot be loaded: it has 9,000 bytes; expected [0-9,]+;"),
    (lost_shard, r"lacks 1 of \d+ shards, the first of them model-00001"),
    (foreign_shard, "names no shards beside it; expected a weight_map"),
    (weights(lambda t: t.pop("classifier.weight")), r"lacks 1 tensors.*classifier\.weight"),
    (weights(lambda t: t["classifier.bias"].fill_(float("nan"))), r"classifier\.bias holds NaN or"),
    (weights(lambda t: t["bert.pooler.dense.bias"].fill_(float("inf"))), "holds NaN or infinity"),
    (weights(lambda _: None, "mlx"), r"saved by MLX \(format in its metadata\); expected PyTorch"),
    (weights(lambda _: None, "tf"), "saved by TensorFlow"),
    (weights(lambda _: None, "np"), "saved by numpy"),
    (weights(lambda _: None, "ours"), "saved by 'ours'"),
    (weights(lambda t: t["classifier.weight"].fill_(3e38)), "logits of a BertFor.* are not finite"),
    (write("harmguard_training.json", "[]"), "no JSON object"),
    (write("tokenizer.json", LFS), r"tokenizer\.json is a git-lfs pointer"),
    (write("tokenizer.json", "{}"), r"the tokenizer of checkpoint cannot be loaded \("),
]  # fmt: skip


@pytest.mark.parametrize(("damage", "match"), DAMAGES, ids=[match for _, match in DAMAGES])
def test_each_damage_has_its_name(folder: Path, damage: Damage, match: str) -> None:
    damage(folder)
    with pytest.raises(CheckpointError, match=match):
        load_checkpoint(folder)


def test_a_config_s_code_is_never_offered_to_run(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="exports: needs the extra [export]")
    ran = tmp_path / "ran"
    (folder / "evil.py").write_text(f"open({str(ran)!r}, 'w')\n")
    edit("config.json", auto_map={"AutoModelForSequenceClassification": "evil.M"})(folder)
    for command in (["export", str(folder), str(tmp_path / "out")], ["eval", str(folder), "x.csv"]):
        (tmp_path / "x.csv").write_text("prompt,label\na,1\nb,0\n")
        done = subprocess.run(
            [sys.executable, "-m", "harmguard", *command],
            input="y\n" * 9, cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 3, done.stderr
        assert "auto_map" in done.stderr
        assert "Traceback" not in done.stderr
    assert not ran.exists()


def test_more_token_ids_than_embeddings(folder: Path) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["added_tokens"].append(
        {**tokenizer["added_tokens"][0], "id": 5000, "content": "[NEW]"}
    )
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    for load in (load_checkpoint, lambda path: load_student(path, 64)):
        with pytest.raises(
            CheckpointError, match=r"expected less than the .* without resize_token"
        ):
            load(folder)


def test_metadata(tmp_path: Path) -> None:
    assert read_metadata(tmp_path) == {}
    (tmp_path / "harmguard_training.json").write_text('{"name": "x"}')
    assert read_metadata(tmp_path) == {"name": "x"}


def halves(kind: torch.dtype) -> Callable[[Any, Path], None]:
    return lambda model, folder: model.to(kind).save_pretrained(folder)


@pytest.mark.parametrize(
    "save",
    [
        halves(torch.float16),
        halves(torch.bfloat16),
        lambda model, folder: model.save_pretrained(folder, max_shard_size="20KB"),
        lambda model, folder: save_file(model.state_dict(), folder / "model.safetensors"),
    ],
    ids=["float16", "bfloat16", "sharded", "without metadata"],
)
def test_other_ways_to_save(folder: Path, save: Callable[[Any, Path], None]) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(str(folder))
    (folder / "model.safetensors").unlink()
    save(model, folder)
    loaded = load_checkpoint(folder)
    assert {t.dtype for t in loaded.model.parameters()} == {torch.float32}
    found = loaded.model.state_dict()["classifier.weight"]
    assert torch.allclose(found, model.state_dict()["classifier.weight"].float(), atol=1e-3)
