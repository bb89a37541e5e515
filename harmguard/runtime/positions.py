"""Whether a graph's position tables are as long as its windows, read off the ONNX file.

A run of the largest window would tell, too, and cost each load as much as the slowest call.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

from harmguard.bundle.onnx_file import spans
from harmguard.errors import GraphMismatchError

# Field numbers of onnx.proto.
_MODEL_GRAPH, _GRAPH_NODE, _GRAPH_INITIALIZER = 7, 1, 5
_NODE_INPUT, _NODE_KIND = 1, 4
_TENSOR_DIMS, _TENSOR_NAME, _TENSOR_INT64, _TENSOR_RAW = 1, 8, 7, 9


def check_positions(model: Path, max_tokens: int) -> None:
    """Raise GraphMismatchError for a table that is cut to the input's length and is shorter.

    Such a table is a stored tensor, sliced from 0 to a length that is computed.
    """
    with model.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        tensors: dict[bytes, tuple[int, int]] = {}
        slices: list[list[bytes]] = []
        for start, end in _bodies(data, 0, len(data), _MODEL_GRAPH):
            for number, _, first, last in spans(data, start, end):
                if number == _GRAPH_NODE and data.find(b"Slice", first, last) >= 0:
                    slices += _slice(data, first, last)
                elif number == _GRAPH_INITIALIZER:
                    for at, to in _bodies(data, first, last, _TENSOR_NAME):
                        tensors[data[at:to]] = first, last
        for table, begin, ends, axis in slices:
            if not {table, begin, axis} <= tensors.keys() or ends in tensors:
                continue
            shape = _numbers(data, *tensors[table], _TENSOR_DIMS)
            begins = _values(data, *tensors[begin])
            axes = _values(data, *tensors[axis])
            if begins == [0] and len(axes) == 1 and -len(shape) <= axes[0] < len(shape):
                _check(table, shape[axes[0]], max_tokens)


def _check(table: bytes, rows: int, max_tokens: int) -> None:
    if rows < max_tokens:
        raise GraphMismatchError(
            f"model.onnx: {table.decode(errors='replace')[:80]!a} has {rows:,} rows; expected at "
            f"least max_tokens, {max_tokens:,}; likely a max_tokens of another model"
        )


def _slice(data: mmap.mmap, start: int, end: int) -> list[list[bytes]]:
    """The four inputs of a Slice node, in a list; none for another node, or one with steps."""
    kinds = [data[at:to] for at, to in _bodies(data, start, end, _NODE_KIND)]
    inputs = [data[at:to] for at, to in _bodies(data, start, end, _NODE_INPUT)]
    return [inputs] if kinds == [b"Slice"] and len(inputs) == 4 else []


def _bodies(data: mmap.mmap, start: int, end: int, number: int) -> Iterator[tuple[int, int]]:
    for found, _, first, last in spans(data, start, end):
        if found == number:
            yield first, last


def _values(data: mmap.mmap, start: int, end: int) -> list[int]:
    """A small int64 tensor's values, as one of the two fields has them."""
    for at, to in _bodies(data, start, end, _TENSOR_RAW):
        return [
            int.from_bytes(data[i : i + 8], "little", signed=True)
            for i in range(at, min(to, at + 64), 8)
        ]
    return _numbers(data, start, end, _TENSOR_INT64)


def _numbers(data: mmap.mmap, start: int, end: int, wanted: int) -> list[int]:
    """A repeated int64 field: packed, or a varint each."""
    found: list[int] = []
    while start < end:
        key, start = _varint(data, start)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, start = _varint(data, start)
            found += [value] if number == wanted else []
        elif kind == 2:
            length, start = _varint(data, start)
            stop = start + length
            while number == wanted and start < stop:
                value, start = _varint(data, start)
                found.append(value)
            start = stop
        else:
            start += 4 if kind == 5 else 8
    return [value - (1 << 64) if value >> 63 else value for value in found]


def _varint(data: mmap.mmap, start: int) -> tuple[int, int]:
    # `spans` has read these bytes before, and refused what is cut short.
    value = shift = 0
    while True:
        byte = data[start]
        start += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, start
        shift += 7
