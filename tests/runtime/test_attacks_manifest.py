"""Folders, files and manifests made to break the reader: each one named error, no crash."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from harmguard import HarmGuard
from harmguard.bundle.manifest import seal
from harmguard.errors import (
    BundleFileError,
    BundleNotFoundError,
    ManifestError,
    UnsafePathError,
    UnsupportedVersionError,
)
from tests.attacks.base import edit, put

from .refusing import refused

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"


@pytest.fixture
def folder(needle_bundle: Path, tmp_path: Path) -> Path:
    """A copy of a bundle, to be spoilt."""
    return Path(shutil.copytree(needle_bundle, tmp_path / "guard"))


def test_the_copy_itself_is_accepted(folder: Path) -> None:
    with HarmGuard(folder, threads=1) as guard:
        assert guard.score("danger") > 0.8


# Folder and files


def test_no_folder(tmp_path: Path) -> None:
    refused(tmp_path / "none", BundleNotFoundError, "no folder")


def test_folder_without_manifest(tmp_path: Path) -> None:
    refused(tmp_path, BundleNotFoundError, "holds no guard.json")


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "golden.jsonl"])
def test_missing_file(folder: Path, name: str) -> None:
    (folder / name).unlink()
    refused(folder, BundleFileError, f"{name} is missing")


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "golden.jsonl"])
def test_truncated_file(folder: Path, name: str) -> None:
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[:-1])
    refused(folder, BundleFileError, f"{name} has .* likely a truncated download")


def test_wrong_hash(folder: Path) -> None:
    data = bytearray((folder / "model.onnx").read_bytes())
    data[-1] ^= 1
    (folder / "model.onnx").write_bytes(data)
    refused(folder, BundleFileError, "model.onnx has sha256 .* likely a damaged download")


def test_git_lfs_pointer_in_place_of_the_model(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(LFS)
    refused(folder, BundleFileError, "git-lfs pointer")


def test_git_lfs_pointer_in_place_of_the_manifest(folder: Path) -> None:
    (folder / "guard.json").write_bytes(LFS)
    refused(folder, ManifestError, "git-lfs pointer")


@pytest.mark.parametrize("name", ["model.onnx", "guard.json"])
def test_symlink_out_of_the_folder(folder: Path, tmp_path: Path, name: str) -> None:
    (folder / name).rename(tmp_path / name)
    (folder / name).symlink_to(tmp_path / name)
    refused(folder, UnsafePathError, f"{name} is a symbolic link")


def test_dangling_symlink(folder: Path) -> None:
    (folder / "model.onnx").unlink()
    (folder / "model.onnx").symlink_to("/nonexistent")
    refused(folder, UnsafePathError, "symbolic link")


def test_fifo_does_not_hang(folder: Path) -> None:
    (folder / "golden.jsonl").unlink()
    os.mkfifo(folder / "golden.jsonl")
    refused(folder, UnsafePathError, "golden.jsonl is not a regular file")


def test_folder_in_place_of_a_file(folder: Path) -> None:
    (folder / "golden.jsonl").unlink()
    (folder / "golden.jsonl").mkdir()
    refused(folder, UnsafePathError, "golden.jsonl is not a regular file")


NAMES = [
    "../model.onnx",
    "/etc/passwd",
    "sub/model.onnx",
    "sub\\model.onnx",
    "C:model.onnx",
    "..",
    ".hidden",
    "",
    "a\0b",
    "caf\u00e9",
    "x" * 129,
]


@pytest.mark.parametrize("name", NAMES)
def test_path_outside_the_folder(folder: Path, name: str) -> None:
    edit(folder, lambda v: v["files"].update({name: {"size": 1, "sha256": "0" * 64}}))
    refused(folder, UnsafePathError, "expected one plain name")


# The manifest as JSON


@pytest.mark.parametrize("version", [0, 4, 10**9])
def test_unknown_version(folder: Path, version: int) -> None:
    edit(folder, lambda v: v.update(format_version=version))
    refused(folder, UnsupportedVersionError, f"format_version is {version}; expected 1")


def test_unknown_version_comes_before_unknown_fields(folder: Path) -> None:
    edit(folder, lambda v: v.update(format_version=4, novelty=1))
    refused(folder, UnsupportedVersionError, "format_version is 4")


def test_huge_manifest(folder: Path) -> None:
    edit(folder, lambda v: v["metrics"].update(a="x" * (1 << 20)))
    refused(folder, ManifestError, "bytes; expected at most 1,048,576")


def test_nested_manifest(folder: Path) -> None:
    (folder / "guard.json").write_text("[" * 500_000 + "]" * 500_000)
    refused(folder, ManifestError, "nested too deeply")


def test_slightly_nested_manifest(folder: Path) -> None:
    deep: Any = 1
    for _ in range(20):
        deep = [deep]
    edit(folder, lambda v: v["metrics"].update(a=deep))
    refused(folder, ManifestError, "nested too deeply; expected at most 16 levels")


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ('"name":', '"name": "other", "name":', "same key twice"),
        ('"value": 0.5', '"value": NaN', "holds NaN"),
        ('"value": 0.5', '"value": Infinity', "holds Infinity"),
        ('"value": 0.5', '"value": 1e999', "range of a double"),
        ('"value": 0.5', '"value": true', "is True; expected a number from 0 to 1"),
        ('"value": 0.5', '"value": 1.5', "is 1.5; expected a number from 0 to 1"),
        ('"max_tokens": 64', '"max_tokens": 64.0', "expected an integer"),
        ('"max_tokens": 64', '"max_tokens": ' + "9" * 5000, "5,000 digits; expected at most"),
        ('"max_tokens": 64', '"max_tokens": 9', "max_tokens is 9; expected an integer from"),
        ('"temperature": 2.0', '"temperature": 0', "expected a number from 0.01"),
        ('"status": "trial"', '"status": "done"', "status is 'done'"),
        ('"licence": "Apache-2.0"', '"licence": "\\u001b[31m"', "control characters"),
        ('"licence": "Apache-2.0"', '"licence": "\\ud800"', "lone surrogates"),
        ('"licence": "Apache-2.0"', '"licence": ""', "expected a string of 1 to 2,000"),
        ('"licence": "Apache-2.0",', "", "licence is missing"),
        ('"licence"', '"license": "MIT", "licence"', "unknown field 'license'"),
        ('"labels": ["safe", "harmful"]', '"labels": ["harmful", "safe"]', "labels is"),
        ('"dtype": "int64"', '"dtype": "int32"', "input.dtype is 'int32'"),
        ('"default"', '"Default"', "thresholds.prompt.default is missing"),
        ('"text": "response"', '"text": "prompt"', "with the texts"),
        ('"model.onnx"', '"model2.onnx"', "expected entries for model.onnx"),
        ('"golden.jsonl"', '"GOLDEN.jsonl"', "expected entries for golden.jsonl"),
    ],
)
def test_wrong_field(folder: Path, old: str, new: str, match: str) -> None:
    text = json.dumps(json.loads((folder / "guard.json").read_text()))
    assert old in text
    (folder / "guard.json").write_bytes(seal(text.replace(old, new, 1).encode()))
    refused(folder, ManifestError, match)


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"null", b"[]", b"\xef\xbb\xbf{}"])
def test_not_a_json_object(folder: Path, data: bytes) -> None:
    (folder / "guard.json").write_bytes(data)
    refused(folder, ManifestError, "guard.json")


def test_names_that_differ_in_case_only(folder: Path) -> None:
    entry = {"size": 1, "sha256": "0" * 64}
    edit(folder, lambda v: v["files"].update({"MODEL.onnx": entry}))
    refused(folder, ManifestError, "differ in more than case")


def test_manifest_that_lists_itself(folder: Path) -> None:
    put(folder, "guard.json", (folder / "guard.json").read_bytes())
    refused(folder, ManifestError, "not guard.json")
