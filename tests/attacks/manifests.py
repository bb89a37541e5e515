"""Manifests: fields, names and sizes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from harmguard.errors import BundleFileError, ManifestError, UnsafePathError
from tests.attacks.base import Attack, edit, put

ENTRY = {"size": 1, "sha256": "0" * 64}


def field(change: Callable[[Any], object]) -> Callable[[Path], object]:
    return lambda folder: edit(folder, change)


def size(name: str, bytes_: int) -> Callable[[Path], object]:
    """The manifest says that `name` has so many bytes; a sparse file could really have them."""
    return field(lambda value: value["files"].setdefault(name, dict(ENTRY)).update(size=bytes_))


TOO_LARGE = {
    "model.onnx": 1 << 31,
    "tokenizer.json": 64_000_001,
    "golden.jsonl": 1 << 42,
    "README.md": 1_000_001,
    "model.onnx.data": 16_000_000_001,
    "weights.bin": 1 << 43,
}
ATTACKS = {
    **{
        f"size-of-{name}": Attack(
            BundleFileError, rf"{name} has [\d,]+ bytes, says the manifest; expected at most",
            size(name, bytes_),
        )
        for name, bytes_ in TOO_LARGE.items()
    },
    "lists-the-record": Attack(
        ManifestError, "not guard.json or guard.verified.json",
        lambda folder: put(folder, "guard.verified.json", b"{}"),
    ),
    "lists-the-record-in-capitals": Attack(
        ManifestError, "names that differ in more than case",
        lambda folder: put(folder, "Guard.Verified.json", b"{}"),
    ),
    "lists-a-file-without-use": Attack(
        ManifestError, r"files is \['notes.txt'\]; expected .* what the graph uses",
        lambda folder: put(folder, "notes.txt", b"hello"),
    ),
    "lists-weights-without-use": Attack(
        ManifestError, r"files is \['model.onnx.data'\]",
        lambda folder: put(folder, "model.onnx.data", bytes(64)),
    ),
    "lists-a-script": Attack(
        ManifestError, r"files is \['setup.py'\]", lambda folder: put(folder, "setup.py", b"")
    ),
    "empty-parity": Attack(
        ManifestError, "precision.parity is {}; expected null",
        field(lambda value: value["precision"].update(parity={})),
    ),
    "parity-list": Attack(
        ManifestError, "precision.parity is .*expected an object",
        field(lambda value: value["precision"].update(parity=[1])),
    ),
    "parity-number": Attack(
        ManifestError, "precision.parity is 1; expected an object",
        field(lambda value: value["precision"].update(parity=1)),
    ),
    "path-with-a-colon": Attack(
        UnsafePathError, "expected one plain name",
        field(lambda value: value["files"].update({"model.onnx:stream": ENTRY})),
    ),
    "path-with-a-line-separator": Attack(
        UnsafePathError, "expected one plain name",
        field(lambda value: value["files"].update({"model\u2028.onnx": ENTRY})),
    ),
}  # fmt: skip
