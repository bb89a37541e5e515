from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest

from harmguard.checkpoint import load_checkpoint, load_student
from harmguard.checkpoint.tokenizer import load_tokenizer, write_tokenizer
from harmguard.errors import CheckpointError


@pytest.fixture
def folder(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint"))


def edit(path: Path, **changes: Any) -> None:
    value = {**json.loads(path.read_text(encoding="utf-8")), **changes}
    path.write_text(json.dumps(value), encoding="utf-8")


def test_the_tokenizer_never_cuts(folder: Path) -> None:
    edit(
        folder / "tokenizer.json",
        truncation={"direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 0},
    )
    tokenizer, limit = load_tokenizer(folder)
    assert tokenizer.truncation is None
    assert tokenizer.padding is None
    assert len(tokenizer.encode("bread " * 50).ids) > 50
    assert limit == 64


@pytest.mark.parametrize(
    "changes",
    [
        {"tokenizer_class": "TokenizersBackend"},
        {"tokenizer_class": "SomethingNew", "extra_special_tokens": ["<a>"]},
        {"extra_special_tokens": ["<a>", "<b>"]},
    ],
)
def test_a_folder_of_a_newer_transformers_loads(folder: Path, changes: dict[str, Any]) -> None:
    expected = load_checkpoint(folder).score_many([("how do i bake", "bread")])
    edit(folder / "tokenizer_config.json", **changes)
    assert load_checkpoint(folder).score_many([("how do i bake", "bread")]) == expected
    assert load_student(folder, 64).encoder.max_tokens == 64


def test_a_tokenizer_that_is_none(folder: Path) -> None:
    edit(folder / "tokenizer_config.json", tokenizer_class="SomethingNewer")
    (folder / "tokenizer.json").write_text("{}", encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"tokenizer\.json cannot be read \("):
        load_tokenizer(folder)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match=r"the tokenizer of checkpoint cannot be loaded \("):
        load_tokenizer(folder)


def test_a_slow_tokenizer_is_refused(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    edit(folder / "tokenizer_config.json", tokenizer_class="CanineTokenizer")
    with pytest.raises(CheckpointError, match="is a CanineTokenizer; expected a fast one"):
        load_tokenizer(folder)


def test_a_tokenizer_without_special_tokens_has_no_pairs(folder: Path) -> None:
    edit(folder / "tokenizer.json", post_processor=None)
    with pytest.raises(CheckpointError, match="adds no special tokens to a pair"):
        load_checkpoint(folder)


def test_a_large_vocabulary_is_no_reason_to_warn(
    folder: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    value = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = value["model"]["vocab"]
    vocabulary.update({f"##w{i}": len(vocabulary) + i for i in range(100_001)})
    edit(folder / "tokenizer.json", model=value["model"])
    edit(folder / "config.json", transformers_version="4.40.0")
    with caplog.at_level(logging.WARNING):
        load_tokenizer(folder)
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")


def test_what_is_written_is_read_again(folder: Path, tmp_path: Path) -> None:
    found = load_checkpoint(folder)
    target = tmp_path / "target"
    target.mkdir()
    write_tokenizer(found.tokenizer, folder, target, 48)
    tokenizer, limit = load_tokenizer(target)
    assert limit == 48
    assert tokenizer.encode("how do i").ids == found.tokenizer.encode("how do i").ids
    settings = json.loads((target / "tokenizer_config.json").read_text(encoding="utf-8"))
    before = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert settings == {**before, "model_max_length": 48}
