"""Let a prepared copy take weights from the bundle's own file instead of holding them again.

onnxruntime writes every weight into the copy's data file. Those that no kernel packs, such as the
embeddings, are the same bytes as in the bundle: the copy gets a hard link to the bundle's file,
its graph points there, and the data file has a hole where they were. Packed ones have to stay, for
onnxruntime takes a packed block only from the file that has the weight itself.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from harmguard.bundle.onnx_file import spans
from harmguard.core.files import new_file, write_file

LINK_PREFIX = "bundle."
_GRAPH, _INITIALIZER, _NAME, _EXTERNAL_DATA = 7, 5, 8, 13
_CHUNK = 1 << 24
_LEAST_BYTES = 1 << 16  # smaller weights would free no disk blocks worth a second file


class Place(NamedTuple):
    """Where a weight lies outside the graph, and whether packed blocks lie with it."""

    location: str
    offset: int
    length: int
    packed: bool


def share_weights(model: Path, original: Path) -> int:
    """Change the copy `model` and its data file to use the data files of `original`.

    Both are model.onnx of their folders. Returns the number of bytes that are shared: 0 where
    there are none, or where the folders are on different file systems or links are not allowed.
    """
    ours, theirs = places(model), places(original)
    moved = {
        name: theirs[name]
        for name, place in ours.items()
        if name in theirs and _same(model.parent, place, original.parent, theirs[name])
    }
    if not moved:
        return 0
    links = {place.location for place in moved.values()}
    try:
        for name in links:
            os.link(original.parent / name, model.parent / (LINK_PREFIX + name))
    except OSError:
        for name in links:
            (model.parent / (LINK_PREFIX + name)).unlink(missing_ok=True)
        return 0
    for location in {place.location for place in ours.values()}:
        holes = [ours[n] for n in moved if ours[n].location == location]
        _punch(model.parent / location, holes)
    _repoint(model, moved)
    return sum(place.length for place in moved.values())


def is_shared(path: Path, bundle: Path) -> bool:
    """Whether a file of a copy is a link to the file of `bundle` that has been checked."""
    if not path.name.startswith(LINK_PREFIX):
        return False
    try:
        ours, theirs = path.lstat(), (bundle / path.name.removeprefix(LINK_PREFIX)).lstat()
    except OSError:
        return False
    return (ours.st_dev, ours.st_ino) == (theirs.st_dev, theirs.st_ino)


def places(model: Path) -> dict[str, Place]:
    """Initializers of the main graph that lie outside the file, by name."""
    found = {}
    with model.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for number, _, start, end in spans(data, 0, len(data)):
            if number != _GRAPH:
                continue
            for field, _, first, last in spans(data, start, end):
                if field == _INITIALIZER and (tensor := _tensor(data, first, last)):
                    found[tensor[0]] = tensor[1]
    return found


def _tensor(data: mmap.mmap, start: int, end: int) -> tuple[str, Place] | None:
    name, entries = "", {}
    for number, _, first, last in spans(data, start, end):
        if number == _NAME:
            name = data[first:last].decode()
        elif number == _EXTERNAL_DATA:
            parts = {part: data[a:b].decode() for part, _, a, b in spans(data, first, last)}
            entries[parts.get(1, "")] = parts.get(2, "")
    if "length" not in entries:
        return None
    packed = any(key.startswith("prepacked") for key in entries)
    offset, length = int(entries.get("offset", "0")), int(entries["length"])
    return name, Place(entries["location"], offset, length, packed)


def _same(folder: Path, ours: Place, their_folder: Path, theirs: Place) -> bool:
    """Whether the weight is worth sharing, and byte for byte the bundle's."""
    if ours.packed or ours.length != theirs.length or ours.length < _LEAST_BYTES:
        return False
    with (folder / ours.location).open("rb") as a, (their_folder / theirs.location).open("rb") as b:
        a.seek(ours.offset)
        b.seek(theirs.offset)
        for done in range(0, ours.length, _CHUNK):
            size = min(_CHUNK, ours.length - done)
            if a.read(size) != b.read(size):
                return False
    return True


def _punch(path: Path, holes: list[Place]) -> None:
    """Write the file anew without the ranges in `holes`: what is skipped takes no blocks."""
    with path.open("rb") as source, new_file(path, replace=True) as out:
        size, done = path.stat().st_size, 0
        for hole in [*sorted(holes, key=lambda place: place.offset), Place("", size, 0, False)]:
            source.seek(done)
            out.seek(done)
            while (left := hole.offset - source.tell()) > 0:
                out.write(source.read(min(_CHUNK, left)))
            done = hole.offset + hole.length
        out.truncate(size)


def _repoint(model: Path, moved: dict[str, Place]) -> None:
    """Rewrite the graph so that the weights in `moved` are read from the bundle's file."""
    data = model.read_bytes()

    def tensor(start: int, end: int) -> bytes:
        found = next(data[a:b] for n, _, a, b in spans(data, start, end) if n == _NAME).decode()
        place = moved.get(found)
        if place is None:
            return data[start:end]
        facts = {
            "location": LINK_PREFIX + place.location,
            "offset": str(place.offset),
            "length": str(place.length),
        }
        kept = _rewrite(data, start, end, _EXTERNAL_DATA, lambda *_: None)
        entries = (_field(1, k.encode()) + _field(2, v.encode()) for k, v in facts.items())
        return kept + b"".join(_field(_EXTERNAL_DATA, entry) for entry in entries)

    def graph(start: int, end: int) -> bytes:
        return _rewrite(data, start, end, _INITIALIZER, tensor)

    changed = _rewrite(data, 0, len(data), _GRAPH, graph)
    write_file(model, changed, replace=True)


def _rewrite(
    data: bytes, start: int, end: int, number: int, change: Callable[[int, int], bytes | None]
) -> bytes:
    """The message in [start, end) with each field `number` changed, or left out for None."""
    parts, copied = [], start
    for field, key, first, last in spans(data, start, end):
        if field == number:
            body = change(first, last)
            parts += [data[copied:key], b"" if body is None else _field(number, body)]
            copied = last
    return b"".join([*parts, data[copied:end]])


def _field(number: int, body: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(body)) + body


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
