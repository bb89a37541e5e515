"""Where an ONNX file says its weights lie: a small bounded reader of the protobuf wire format.

The runtime has no onnx package, and onnxruntime opens whatever path a model names. So the
paths, offsets and lengths are read here first.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from harmguard.errors import BundleFileError, UnsafePathError

Buffer = bytes | mmap.mmap

_MAX_DEPTH = 32
# Message -> field number -> message: every way from a model down to a tensor.
_CHILDREN: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
_EXTERNAL_DATA = 13  # TensorProto.external_data, a list of StringStringEntryProto
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def check_external_data(model: Path, sizes: Mapping[str, int]) -> None:
    """Check every external-data reference in `model` against the bundle's files.

    `sizes` maps the names that the manifest lists to their sizes in bytes. A reference must
    name one of them and stay within it.

    Raises BundleFileError for a malformed file and UnsafePathError for any other reference.
    """
    if model.stat().st_size == 0:
        raise _malformed("0 bytes")
    with model.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        graphs = 0
        for number, _, start, end in spans(data, 0, len(data)):
            graphs += number == 7
            child = _CHILDREN["model"].get(number)
            if child:
                _walk(data, start, end, child, 1, sizes)
        if graphs != 1:
            raise _malformed(f"{graphs} graphs")


def _walk(
    data: mmap.mmap, start: int, end: int, message: str, depth: int, sizes: Mapping[str, int]
) -> None:
    if depth > _MAX_DEPTH:
        raise _malformed(f"messages nested more than {_MAX_DEPTH} deep")
    if message == "tensor":
        _check_tensor(data, start, end, sizes)
        return
    children = _CHILDREN[message]
    for number, _, child_start, child_end in spans(data, start, end):
        child = children.get(number)
        # A reference holds the key "location": most nodes have none and are skipped in C. A
        # tensor is walked, which steps over its megabytes of weights.
        if child == "tensor" or (child and data.find(b"location", child_start, child_end) >= 0):
            _walk(data, child_start, child_end, child, depth + 1, sizes)


def _check_tensor(data: mmap.mmap, start: int, end: int, sizes: Mapping[str, int]) -> None:
    entries: dict[str, str] = {}
    for number, _, entry_start, entry_end in spans(data, start, end):
        if number == _EXTERNAL_DATA:
            pair = {1: "", 2: ""}
            for part, _, text_start, text_end in spans(data, entry_start, entry_end):
                if part not in pair:
                    continue
                pair[part] = data[text_start : min(text_end, text_start + 4096)].decode(
                    errors="backslashreplace"
                )
            if pair[1] in entries:
                raise _unsafe(f"the key {pair[1]!a} twice in one reference")
            entries[pair[1]] = pair[2]
    if not entries:
        return
    location = entries.get("location", "")
    if location not in sizes:
        raise _unsafe(f"a reference to {location[:80]!a}")
    offset = _number(entries.get("offset", "0"))
    length = _number(entries.get("length", "none"))
    if offset + length > sizes[location]:
        raise _unsafe(
            f"bytes {offset:,} to {offset + length:,} of {location} ({sizes[location]:,})"
        )


def _number(digits: str) -> int:
    if not re.fullmatch(r"[0-9]{1,18}", digits):
        raise _unsafe(f"an offset or length {digits[:40]!a}")
    return int(digits)


def spans(data: Buffer, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Each length-delimited field in [start, end): number, start, and start and end of its body.

    Raises BundleFileError for what is not protobuf.
    """
    while start < end:
        whole = start
        key, start = _varint(data, start, end)
        kind, number = key & 7, key >> 3
        if kind == _VARINT:
            _, start = _varint(data, start, end)
        elif kind == _BYTES:
            length, start = _varint(data, start, end)
            if start + length > end:
                raise _malformed(f"a field of {length:,} bytes with {end - start:,} left")
            yield number, whole, start, start + length
            start += length
        elif kind in (_FIXED32, _FIXED64):
            start += 4 if kind == _FIXED32 else 8
        else:
            raise _malformed(f"wire type {kind}")
    if start > end:
        raise _malformed("a field cut short")


def _varint(data: Buffer, start: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while start < end and shift < 70:
        byte = data[start]
        start += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, start
        shift += 7
    raise _malformed("a number cut short")


def _malformed(found: str) -> BundleFileError:
    return BundleFileError(
        f"model.onnx: {found}; expected an ONNX protobuf with one graph; "
        "likely truncated, or not an ONNX file"
    )


def _unsafe(found: str) -> UnsafePathError:
    return UnsafePathError(
        f"model.onnx: {found}; expected external data within a file that guard.json lists; "
        "likely a hostile bundle, or a data file that was renamed"
    )
