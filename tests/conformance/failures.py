"""What must be refused, and by which error: texts, options, and bundles that were changed.

A changed bundle is a copy of tests/golden/unigram with steps applied in order:

    ["remove", NAME]              ["append", NAME, TEXT]        ["truncate", NAME, BYTES]
    ["replace", NAME, OLD, NEW]   the first occurrence, which must be there
    ["rename", NAME, NAME]        ["link", NAME, TARGET]        a symbolic link
    ["list", NAME]                guard.json gets the file's size and sha256
    ["seal"]                      guard.json gets the digest of its content
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from harmguard.bundle.manifest import seal

_SEAL = ["seal"]


def _text(error: str, prompt: Any, response: Any = None, times: int = 1) -> dict[str, Any]:
    repeated = {} if times == 1 else {"times": times}
    return {"error": error, "prompt": prompt, "response": response, **repeated}


def _bundle(error: str, *steps: list[Any], at: str = "open") -> dict[str, Any]:
    return {"error": error, "at": at, "bundle": list(steps)}


def _manifest(error: str, old: str, new: str) -> dict[str, Any]:
    return _bundle(error, ["replace", "guard.json", old, new], _SEAL)


FAILURES: tuple[dict[str, Any], ...] = (
    _text("EmptyPromptError", ""),
    _text("EmptyPromptError", "", "Mix flour and water."),
    _text("EmptyPromptError", " "),
    _text("EmptyPromptError", "  \t\n "),
    _text("EmptyPromptError", "\u3000\u2003\u00a0", "Mix flour and water."),
    _text("InvalidTextError", "bread \ud800"),
    _text("InvalidTextError", "\udfff"),
    _text("InvalidTextError", "bread", "\udc00 bread"),
    _text("TextTooLongError", "a", None, 200_001),
    _text("TextTooLongError", "bread", "b", 200_001),
    _text("InputTypeError", 5),
    _text("InputTypeError", None),
    _text("InputTypeError", ["bread"]),
    _text("InputTypeError", "bread", 5),
    _text("InputTypeError", "bread", ["bread"]),
    {"error": "UnknownThresholdError", "threshold": "no_such_point"},
    {"error": "UnknownThresholdError", "threshold": 1.5},
    {"error": "UnknownThresholdError", "threshold": -0.1},
    _bundle("BundleNotFoundError", ["remove", "guard.json"]),
    _bundle("ManifestError", ["truncate", "guard.json", 100]),
    _bundle("ManifestError", ["append", "guard.json", "{}"]),
    _bundle("ManifestError", ["replace", "guard.json", '"value": 0.5', '"value": 0.4']),
    _bundle("ManifestError", ["replace", "guard.json", '"licence"', '"license"']),
    _manifest("ManifestError", '"licence"', '"license"'),
    _manifest("ManifestError", '"status": "trial"', '"status": "done"'),
    _manifest("ManifestError", '"max_tokens": 64', '"max_tokens": 64.0'),
    _manifest("ManifestError", '"max_tokens": 64', '"max_tokens": 4'),
    _manifest("ManifestError", '"pad_id": 0', '"pad_id": -1'),
    _manifest("ManifestError", '"temperature": 1.0', '"temperature": 0'),
    _manifest("ManifestError", '"temperature": 1.0', '"temperature": 1e999'),
    _manifest("ManifestError", '"temperature": 1.0', '"temperature": NaN'),
    _manifest("ManifestError", '"value": 0.5', '"value": true'),
    _manifest("ManifestError", '"value": 0.5', '"value": 1.5'),
    _manifest("ManifestError", '"licence": "Apache-2.0"', '"licence": "\\u001b[31m"'),
    _manifest("ManifestError", '"licence": "Apache-2.0"', '"licence": "\\ud800"'),
    _manifest("ManifestError", '"licence": "Apache-2.0"', '"licence": ""'),
    _manifest("ManifestError", '"name": "unigram"', '"name": "unigram", "name": "other"'),
    _manifest("ManifestError", '"metrics": {}', '"metrics": {}, "novelty": 1'),
    _manifest("ManifestError", '"default"', '"Default"'),
    _manifest("ManifestError", '"text": "prompt"', '"text": "response"'),
    _manifest("ManifestError", '"runtime": "onnxruntime",', ""),
    _manifest("ManifestError", '"runtime": "onnxruntime"', '"runtime": "other"'),
    _manifest("ManifestError", '"golden.jsonl"', '"other.jsonl"'),
    _manifest("UnsupportedVersionError", '"format_version": 3', '"format_version": 4'),
    _manifest("UnsupportedVersionError", '"format_version": 3', '"format_version": 0'),
    _manifest("UnsupportedVersionError", '"onnxruntime": "1.20"', '"onnxruntime": "99.0"'),
    _manifest("UnsupportedVersionError", '"normalisation": "none"', '"normalisation": "new-9"'),
    _bundle("BundleFileError", ["remove", "tokenizer.json"]),
    _bundle("BundleFileError", ["truncate", "model.onnx", 1000]),
    _bundle("BundleFileError", ["append", "golden.jsonl", "\n"]),
    _bundle("BundleFileError", ["replace", "README.md", "unigram", "Unigram"]),
    _bundle("BundleFileError", ["truncate", "model.onnx", 0], ["list", "model.onnx"], _SEAL),
    _bundle("BundleFileError", ["truncate", "model.onnx", 1000], ["list", "model.onnx"], _SEAL),
    _manifest("UnsafePathError", '"README.md"', '"../README.md"'),
    _manifest("UnsafePathError", '"README.md"', '".hidden"'),
    _manifest("UnsafePathError", '"README.md"', '"sub/README.md"'),
    _manifest("UnsafePathError", '"README.md"', '"C:README.md"'),
    _bundle("UnsafePathError", ["rename", "README.md", "other"], ["link", "README.md", "other"]),
    _bundle("UnsafePathError", ["remove", "model.onnx"], ["link", "model.onnx", "/etc/hostname"]),
    _manifest(
        "GraphMismatchError",
        '"attention_mask"',
        '"attention_mask",\n      "token_type_ids"',
    ),
    _bundle(
        "TokenizerError",
        ["replace", "tokenizer.json", '"truncation":null',
         '"truncation":{"direction":"Right","max_length":8,"strategy":"LongestFirst","stride":0}'],
        ["list", "tokenizer.json"],
        _SEAL,
    ),
    _bundle(
        "TokenizerError",
        ["replace", "tokenizer.json", '"padding":null',
         '"padding":{"strategy":"BatchLongest","direction":"Right","pad_to_multiple_of":null,'
         '"pad_id":0,"pad_type_id":0,"pad_token":"[PAD]"}'],
        ["list", "tokenizer.json"],
        _SEAL,
    ),
    _bundle(
        "TokenizerError", ["truncate", "tokenizer.json", 100], ["list", "tokenizer.json"], _SEAL
    ),
    _manifest("TokenizerError", '"id": 1', '"id": 3'),
    _bundle(
        "GoldenMismatchError",
        ["replace", "golden.jsonl", '"ids": [[1, ', '"ids": [[2, '],
        ["list", "golden.jsonl"],
        _SEAL,
        at="verify",
    ),
)  # fmt: skip


def apply(folder: Path, steps: list[list[Any]]) -> None:
    """Change the copy of a bundle in `folder`."""
    for verb, *rest in steps:
        path = folder / (rest[0] if rest else "guard.json")
        if verb == "remove":
            path.unlink()
        elif verb == "append":
            path.write_bytes(path.read_bytes() + rest[1].encode())
        elif verb == "truncate":
            path.write_bytes(path.read_bytes()[: rest[1]])
        elif verb == "replace":
            text = path.read_text(encoding="utf-8")
            assert rest[1] in text, steps
            path.write_text(text.replace(rest[1], rest[2], 1), encoding="utf-8")
        elif verb == "rename":
            path.rename(folder / rest[1])
        elif verb == "link":
            os.symlink(rest[1], path)
        elif verb == "list":
            data = path.read_bytes()
            entry = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            fields = json.loads((folder / "guard.json").read_text(encoding="utf-8"))
            fields["files"][rest[0]] = entry
            (folder / "guard.json").write_text(json.dumps(fields), encoding="utf-8")
        else:
            assert verb == "seal", verb
            path.write_bytes(seal(path.read_bytes()))
