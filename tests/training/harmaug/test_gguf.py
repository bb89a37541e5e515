"""A language model that is one GGUF file, at a path and in an installed package."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import torch

from harmguard.checkpoint import located
from harmguard.core.files import sha256_of
from harmguard.errors import CheckpointError, MissingExtraError
from harmguard.training.harmaug.chat import opened_turn
from harmguard.training.harmaug.engines.local import LocalModel
from harmguard.training.harmaug.plan import Sampling
from harmguard.training.models import Model, identity
from tests.training import tiny_gguf


@pytest.fixture
def packaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in a package, whose code would raise."""
    folder = tmp_path / "site" / "tiny_gguf_package"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("raise AssertionError('imported')\n")
    monkeypatch.syspath_prepend(str(folder.parent))
    importlib.invalidate_caches()
    return tiny_gguf.write(folder / "tiny.gguf")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_it_goes_on_with_an_answer(packaged: Path) -> None:
    model = Model("package:tiny_gguf_package/tiny.gguf")
    loaded = LocalModel.load(model)
    ids = opened_turn(loaded.tokenizer, "Ask the \u00e9!", "I have")
    assert loaded.tokenizer.decode(ids) == (
        "<|im_start|>user\nAsk the \u00e9!<|im_end|>\n<|im_start|>assistant\nI have"
    )
    assert loaded.model.dtype == torch.float32
    sampling = Sampling(max_new_tokens=6)
    first = loaded.generate([ids, ids], [1, 2], sampling)
    assert first == loaded.generate([ids, ids], [1, 2], sampling)
    assert first[0] != first[1]
    assert identity(model) == identity(Model(str(packaged)))
    assert identity(model) == {"file_sha256": sha256_of(packaged)}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("package:absent_package/x.gguf", "no package 'absent_package' is installed here"),
        ("package:not a name/x.gguf", "no package 'not a name' is installed here"),
        ("package:tiny_gguf_package/other.gguf", "has no GGUF file 'other.gguf'"),
        ("package:tiny_gguf_package/__init__.py", "has no GGUF file '__init__.py'"),
        ("package:tiny_gguf_package/../tiny_gguf_package/tiny.gguf", "has no GGUF file"),
        ("package:tiny_gguf_package", "has no GGUF file ''"),
        ("none.gguf", "'none.gguf' is no folder here"),
    ],
)
def test_what_is_not_there(packaged: Path, source: str, message: str) -> None:
    assert packaged.is_file()
    with pytest.raises(CheckpointError, match=message):
        located(source, "main")


def test_the_package_that_reads_it_is_named(
    packaged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harmguard.checkpoint.hub.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match="a GGUF file needs the package gguf, not"):
        located(str(packaged), "main")
