"""The bundle that attacks are made of, and the changes that keep its hashes right."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from harmguard import HarmGuardError
from harmguard.bundle.manifest import seal

BASE = Path(__file__).parents[1] / "golden" / "format-3"


@dataclass(frozen=True)
class Attack:
    """A change of BASE, and the error that must follow when it is loaded, or verified."""

    error: type[HarmGuardError]
    match: str
    change: Callable[[Path], object]
    when: str = "load"


def make(attack: Attack, folder: Path) -> Path:
    """Write the folder of one attack."""
    shutil.copytree(BASE, folder)
    attack.change(folder)
    return folder


def edit(folder: Path, change: Callable[[Any], object]) -> None:
    """Apply `change` to the parsed manifest, and seal it again."""
    path = folder / "guard.json"
    value = json.loads(path.read_text(encoding="utf-8"))
    change(value)
    path.write_bytes(seal(json.dumps(value).encode()))


def put(folder: Path, name: str, data: bytes) -> None:
    """Replace or add a file, and let the manifest agree."""
    (folder / name).write_bytes(data)
    entry = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    edit(folder, lambda value: value["files"].update({name: entry}))


def model(folder: Path) -> onnx.ModelProto:
    """The graph of a bundle."""
    return onnx.load(str(folder / "model.onnx"), load_external_data=False)


def put_model(folder: Path, made: onnx.ModelProto) -> None:
    """Replace the graph of a bundle."""
    put(folder, "model.onnx", made.SerializeToString(deterministic=True))
