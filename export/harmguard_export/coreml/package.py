"""The .mlpackage on disk: the same bytes for the same program."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import coremltools as ct
from coremltools.proto import Model_pb2

from harmguard.bundle.coreml import Lengths

NAME = "model.mlpackage"
MANIFEST = "Manifest.json"
PROGRAM = "Data/com.apple.CoreML/model.mlmodel"
_DATE = "com.github.apple.coremltools.conversion_date"


def shapes(inputs: tuple[str, ...], lengths: Lengths) -> dict[str, Any]:
    """coremltools' shape of each input, [1, length]."""
    if lengths.kind == "enumerated":
        kinds = [(1, n) for n in lengths.values]
        if len(kinds) == 1:  # an enumeration has at least two
            return dict.fromkeys(inputs, kinds[0])
        return {n: ct.EnumeratedShapes(kinds, default=kinds[0]) for n in inputs}
    low, high = lengths.values
    return {n: (1, ct.RangeDim(low, high, default=min(32, high))) for n in inputs}


def save(model: Any, folder: Path, description: str) -> Path:
    """Write `folder`/model.mlpackage: no date, maps sorted, item names made of the files' paths."""
    path = folder / NAME
    model.user_defined_metadata.pop(_DATE, None)
    model.short_description = description
    model.save(str(path))
    # coremltools writes protobuf's maps in an order that is another one in each process.
    program = path / PROGRAM
    specification = Model_pb2.Model.FromString(program.read_bytes())
    program.write_bytes(specification.SerializeToString(deterministic=True))
    manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    entries = manifest["itemInfoEntries"]
    names = {old: str(uuid.uuid5(uuid.NAMESPACE_URL, entries[old]["path"])) for old in entries}
    manifest["itemInfoEntries"] = {
        names[old]: entries[old] for old in sorted(entries, key=names.__getitem__)
    }
    manifest["rootModelIdentifier"] = names[manifest["rootModelIdentifier"]]
    text = json.dumps(manifest, indent=4)
    (path / MANIFEST).write_text(text + "\n", encoding="utf-8")
    return path


def files(package: Path) -> dict[str, Path | bytes]:
    """The package's files by their names in a bundle."""
    found = sorted(p for p in package.rglob("*") if p.is_file())
    return {p.relative_to(package.parent).as_posix(): p for p in found}
