"""Tokenizers made to break the reader: each one named error, and never a crash or a hang."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from harmguard.errors import TokenizerError
from tests.attacks.base import edit, put

from .refusing import refused


@pytest.fixture
def folder(needle_bundle: Path, tmp_path: Path) -> Path:
    """A copy of a bundle, to be spoilt."""
    return Path(shutil.copytree(needle_bundle, tmp_path / "guard"))


# The tokenizer


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (
            "truncation",
            {"max_length": 128, "strategy": "LongestFirst", "stride": 0, "direction": "Right"},
        ),
        (
            "padding",
            {
                "strategy": {"Fixed": 128},
                "direction": "Right",
                "pad_to_multiple_of": None,
                "pad_id": 0,
                "pad_type_id": 0,
                "pad_token": "[PAD]",
            },
        ),
    ],
)
def test_tokenizer_that_cuts_or_pads(folder: Path, name: str, value: Any) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    put(folder, "tokenizer.json", json.dumps({**tokenizer, name: value}).encode())
    refused(folder, TokenizerError, f"tokenizer.json has {name} set")


def test_tokenizer_that_is_none(folder: Path) -> None:
    put(folder, "tokenizer.json", b'{"model": null}')
    refused(folder, TokenizerError, "cannot be read")


def test_template_with_ids_of_another_tokenizer(folder: Path) -> None:
    edit(folder, lambda v: v["input"]["template"]["prompt"][0].update(id=11))
    refused(folder, TokenizerError, r"expected 11 as the template says")
