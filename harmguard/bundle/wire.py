"""A strict, bounded reader of protobuf's wire format, for the messages of an ONNX file.

onnxruntime reads a file with protobuf's C++, which forgives much and not the same in every
release: it skips what it does not know, lets a second value of a field replace or join the first,
and has cut long tags to 32 bits. What is read here is refused unless all readers agree on it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from harmguard.errors import BundleFileError

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
MAX_FIELDS = 1_000_000
"""Fields of a whole file: half a second of reading; an encoder of 24 layers has about 50,000."""
_MAX_TAG = (1 << 32) - 1


class Message(NamedTuple):
    """What a message may hold: its tags, each with a bit of its own, or 0 if it may be repeated."""

    name: str
    tags: Mapping[int, int]


def message(name: str, once: Mapping[int, int], many: Mapping[int, int]) -> Message:
    """A message from field number -> wire type, for fields that stand once and for the others."""
    tags = {number << 3 | kind: 1 << bit for bit, (number, kind) in enumerate(once.items())}
    for number, kind in many.items():
        tags[number << 3 | kind] = 0
        if kind != BYTES:  # numbers may also stand in one field, "packed"
            tags[number << 3 | BYTES] = 0
    return Message(name, tags)


class Reader:
    """Reads messages out of `data`; all of it together has at most MAX_FIELDS fields."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._left = MAX_FIELDS

    def fields(self, start: int, end: int, kind: Message) -> Iterator[tuple[int, int, int]]:
        """Each field of the message in [start, end): its tag, and where its body is.

        The body of a varint is its value, and a 0. Raises BundleFileError for what is not
        protobuf, not a field of the message, or there a second time and meant to be there once.
        """
        data, tags, seen = self.data, kind.tags, 0
        while start < end:
            self._left -= 1
            if self._left < 0:
                raise malformed(f"more than {MAX_FIELDS:,} fields")
            tag = data[start]
            if tag < 0x80:
                start += 1
            else:
                tag, start = self._tag(start, end)
            once = tags.get(tag)
            if once is None:
                raise malformed(f"field {tag >> 3} of wire type {tag & 7} in {kind.name}")
            if seen & once:
                raise malformed(f"field {tag >> 3} twice in {kind.name}")
            seen |= once
            wire = tag & 7
            if wire == VARINT:
                value, start = self.varint(start, end)
                yield tag, value, 0
                continue
            length = 4 if wire == FIXED32 else 8
            if wire == BYTES:
                length, start = self.varint(start, end)
            if start + length > end:
                raise malformed(f"a field of {length:,} bytes with {end - start:,} left")
            yield tag, start, start + length
            start += length

    def varint(self, start: int, end: int) -> tuple[int, int]:
        """An unsigned number of at most 64 bits, and where it ends."""
        data, value, shift = self.data, 0, 0
        while start < end:
            byte = data[start]
            start += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if value >> 64:
                    raise malformed("a number of more than 64 bits")
                return value, start
            shift += 7
            if shift >= 70:
                raise malformed("a number of more than ten bytes")
        raise malformed("a number cut short")

    def _tag(self, start: int, end: int) -> tuple[int, int]:
        tag, after = self.varint(start, end)
        # Zeros at the end make a tag longer and not larger: no writer does that.
        if tag > _MAX_TAG or after - start > 5 or self.data[after - 1] == 0:
            raise malformed(f"a tag of {after - start} bytes")
        return tag, after


def malformed(found: str) -> BundleFileError:
    """The error for a file that is no ONNX file, or that readers would not all understand alike."""
    return BundleFileError(
        f"model.onnx: {found}; expected an ONNX protobuf with one graph; "
        "likely truncated, not an ONNX file, or made to be read in two ways"
    )
