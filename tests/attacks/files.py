"""Golden pairs that prove nothing, and files that are not what they seem."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harmguard.errors import BundleFileError, GoldenMismatchError, UnsafePathError
from tests.attacks.base import Attack, put


def row(**changes: Any) -> Callable[[Path], object]:
    """Change the first golden row."""

    def change(folder: Path) -> None:
        lines = (folder / "golden.jsonl").read_text(encoding="utf-8").splitlines()
        first = {**json.loads(lines[0]), **changes}
        put(folder, "golden.jsonl", "\n".join([json.dumps(first), *lines[1:]]).encode() + b"\n")

    return change


def link(target: str) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        (folder / "tokenizer.json").unlink()
        (folder / "tokenizer.json").symlink_to(target)

    return change


BAD_ROWS: dict[str, tuple[dict[str, Any], str]] = {
    "tolerance-of-all": ({"score": 0.5, "tolerance": 0.5}, "tolerates every score"),
    "tolerance-of-one": ({"tolerance": 1}, "tolerates every score"),
    "tolerance-above-one": ({"tolerance": 7}, "tolerance is not what"),
    "tolerance-below-zero": ({"tolerance": -0.1}, "tolerance is not what"),
    "prompt-too-long": ({"prompt": "a" * 200_001}, "prompt is not what"),
    "response-too-long": ({"response": "\u00e9" * 300_000}, "response is not what"),
    "prompt-lone-surrogate": ({"prompt": "a\ud800b"}, "prompt is not what"),
    "response-lone-surrogate": ({"response": "\udfff"}, "response is not what"),
    "prompt-empty": ({"prompt": ""}, "prompt is not what"),
    "logits-huge": ({"logits": [[1e308, -1e308]]}, "logits is not what"),
    "logits-large": ({"logits": [[0, 10_001]]}, "logits is not what"),
    "logits-whole-and-huge": ({"logits": [[10**18, 0]]}, "logits is not what"),
    "ids-huge": ({"ids": [[1 << 40]]}, "ids is not what"),
}
ATTACKS = {
    **{
        f"golden-{name}": Attack(BundleFileError, match, row(**changes), "verify")
        for name, (changes, match) in BAD_ROWS.items()
    },
    "golden-of-another-tokenizer": Attack(
        GoldenMismatchError, "row 1: ", row(prompt="entirely other words"), "verify"
    ),
    "link-to-a-device": Attack(UnsafePathError, "symbolic link", link("/dev/zero")),
    "link-to-a-file": Attack(UnsafePathError, "symbolic link", link("/etc/hostname")),
    "link-to-itself": Attack(UnsafePathError, "symbolic link", link("tokenizer.json")),
}
