"""The parts of an ONNX file that decide what it does: nodes, attributes, constants, references.

The runtime has no onnx package, and onnxruntime opens whatever path a model names and runs
whatever operator it knows. So the file is read here first; `graph_rules` says what is allowed.
"""

from __future__ import annotations

import numpy as np

from harmguard.bundle.wire import (
    BYTES,
    FIXED32,
    FIXED64,
    VARINT,
    Reader,
    malformed,
    message,
)
from harmguard.errors import UnsafeGraphError, UnsafePathError

MAX_NODES = 50_000
_LONGEST_TEXT = 4096
EXTERNAL = 1
"""TensorProto.data_location of a tensor whose data lie in another file."""

# Field numbers of onnx-ml.proto3, onnx 1.23; tests/runtime/test_wire.py compares them.
_MODEL = message(
    "the model",
    {1: VARINT, 2: BYTES, 3: BYTES, 4: BYTES, 5: VARINT, 6: BYTES, 7: BYTES},
    {8: BYTES, 14: BYTES, 20: BYTES, 25: BYTES, 26: BYTES},
)
_OPSET = message("an opset", {1: BYTES, 2: VARINT}, {})
_GRAPH = message(
    "a graph",
    {2: BYTES, 10: BYTES},
    {1: BYTES, 5: BYTES, 11: BYTES, 12: BYTES, 13: BYTES, 14: BYTES, 15: BYTES, 16: BYTES},
)
_NODE = message(
    "a node",
    {3: BYTES, 4: BYTES, 6: BYTES, 7: BYTES, 8: BYTES},
    {1: BYTES, 2: BYTES, 5: BYTES, 9: BYTES, 10: BYTES},
)
_ATTRIBUTE = message(
    "an attribute",
    {1: BYTES, 2: FIXED32, 3: VARINT, 4: BYTES, 5: BYTES, 6: BYTES, 13: BYTES, 14: BYTES}
    | {20: VARINT, 21: BYTES, 22: BYTES},
    {7: FIXED32, 8: VARINT, 9: BYTES, 10: BYTES, 11: BYTES, 15: BYTES, 23: BYTES},
)
_TENSOR = message(
    "a tensor",
    {2: VARINT, 3: BYTES, 8: BYTES, 9: BYTES, 12: BYTES, 14: VARINT},
    {1: VARINT, 4: FIXED32, 5: VARINT, 6: BYTES, 7: VARINT, 10: FIXED64, 11: VARINT}
    | {13: BYTES, 16: BYTES},
)
_ENTRY = message("a reference", {1: BYTES, 2: BYTES}, {})
_VALUES = {2, 3, 4, 5, 6, 7, 8, 9}
# Bytes of a number in TensorProto.float_data and double_data; others are varints.
_WIDTHS = {4: 4, 10: 8}
_NO_MODEL = {20: "a training graph", 25: "a local function", 26: "a set of devices"}
_NO_ATTRIBUTE = {10, 11, 14, 15, 21, 22, 23}
_NO_NODE = {8, 10}
_NO_TENSOR = {3, 6}
_TYPED = {4, 5, 7, 10, 11}
MESSAGES = (_MODEL, _OPSET, _GRAPH, _NODE, _ATTRIBUTE, _TENSOR, _ENTRY)


# Plain classes: making data classes takes memory that every guard would hold for good.


class Tensor:
    """A constant: its shape and type, where its data are, and how many elements those are."""

    __slots__ = ("dims", "entries", "ints", "kind", "location", "name", "raw", "typed")

    def __init__(self) -> None:
        self.name = ""
        self.dims: list[int] = []
        self.kind = self.location = 0
        # Of external data: location, offset, length.
        self.entries: dict[str, str] = {}
        self.raw: tuple[int, int] | None = None
        # Field number -> elements, of data that are not raw.
        self.typed: dict[int, int] = {}
        # The first elements of int32_data and int64_data.
        self.ints: list[int] = []


class Numbers:
    """An attribute that is one float, or a list of numbers; only how many there are."""

    __slots__ = ("count",)

    def __init__(self, count: int) -> None:
        self.count = count


class Node:
    """One operator. Attributes of strings are None."""

    __slots__ = ("attributes", "domain", "inputs", "op", "outputs")

    def __init__(self) -> None:
        self.op = self.domain = ""
        self.inputs: list[str] = []
        self.outputs: list[str] = []
        self.attributes: dict[str, Attribute] = {}


class Graph:
    """The nodes of a graph, in order, its constants, and how many inputs and outputs it has."""

    __slots__ = ("inputs", "nodes", "outputs", "tensors")

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.tensors: list[Tensor] = []
        self.inputs = self.outputs = 0


Attribute = int | Numbers | Tensor | Graph | None


class OnnxModel:
    """A file: its graph and the opset of each domain."""

    __slots__ = ("graph", "opsets")

    def __init__(self, graph: Graph, opsets: dict[str, int]) -> None:
        self.graph = graph
        self.opsets = opsets


def read_model(data: bytes) -> OnnxModel:
    """Read an ONNX file.

    Raises BundleFileError for a malformed one, and UnsafeGraphError for what no guard has: local
    functions, training graphs, sparse tensors, graphs in places other than a node's body.
    """
    return _Parser(data).model()


class _Parser:
    def __init__(self, data: bytes) -> None:
        self._read = Reader(data)
        self._data = data
        self._nodes = 0

    def model(self) -> OnnxModel:
        if not self._data:
            raise malformed("0 bytes")
        graph, opsets = None, {}
        for tag, start, end in self._read.fields(0, len(self._data), _MODEL):
            number = tag >> 3
            if number == 7:
                graph = self._graph(start, end, 0)
            elif number == 8:
                domain, version = self._opset(start, end)
                if domain in opsets:
                    raise malformed(f"the opset of {domain!a} twice")
                opsets[domain] = version
            elif number == 14:
                self._notes(start, end)
            elif number in (20, 25, 26):
                raise unsafe(
                    {20: "a training graph", 25: "a local function"}.get(number, "devices")
                )
        if graph is None:
            raise malformed("0 graphs")
        return OnnxModel(graph, opsets)

    def _opset(self, start: int, end: int) -> tuple[str, int]:
        domain, version = "", 0
        for tag, first, last in self._read.fields(start, end, _OPSET):
            if tag >> 3 == 1:
                domain = _domain(self._text(first, last))
            else:
                version = first
        return domain, version

    def _graph(self, start: int, end: int, depth: int) -> Graph:
        graph = Graph()
        for tag, first, last in self._read.fields(start, end, _GRAPH):
            number = tag >> 3
            if number == 1:
                graph.nodes.append(self._node(first, last, depth))
            elif number == 5:
                graph.tensors.append(self._tensor(first, last))
            elif number == 11:
                graph.inputs += 1
            elif number == 12:
                graph.outputs += 1
            elif number == 15:
                raise unsafe("a sparse tensor")
            elif number == 16:
                self._notes(first, last)
        return graph

    def _node(self, start: int, end: int, depth: int) -> Node:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise unsafe(f"more than {MAX_NODES:,} operators")
        node = Node()
        for tag, first, last in self._read.fields(start, end, _NODE):
            number = tag >> 3
            if number == 1:
                node.inputs.append(self._text(first, last))
            elif number == 2:
                node.outputs.append(self._text(first, last))
            elif number == 4:
                node.op = self._text(first, last)
            elif number == 5:
                self._attribute(node, first, last, depth)
            elif number == 7:
                node.domain = _domain(self._text(first, last))
            elif number == 9:
                self._notes(first, last)
            elif number in _NO_NODE:
                raise unsafe("an operator for other devices, or with overloads")
        return node

    def _attribute(self, node: Node, start: int, end: int, depth: int) -> None:
        name, filled = "", 0
        value: Attribute = None
        for tag, first, last in self._read.fields(start, end, _ATTRIBUTE):
            number = tag >> 3
            if number == 1:
                name = self._text(first, last)
            elif number in _VALUES:
                if filled not in (0, number):
                    raise unsafe(f"an attribute {name[:40]!a} of two kinds")
                filled = number
                value = self._value(tag, first, last, depth, value)
            elif number in _NO_ATTRIBUTE:
                raise unsafe("an attribute of tensors, graphs or types")
        if name in node.attributes:
            raise malformed(f"the attribute {name[:40]!a} twice")
        node.attributes[name] = value

    def _value(self, tag: int, first: int, last: int, depth: int, before: Attribute) -> Attribute:
        """The value of an attribute; `before` is what it has of it already, for lists."""
        number = tag >> 3
        if number == 3:
            return _signed(first)
        if number == 5:
            return self._tensor(first, last)
        if number == 6:
            if depth:
                raise unsafe("a graph within a graph within a graph")
            return self._graph(first, last, depth + 1)
        if number in (4, 9):
            return None
        count = self._count(tag, first, last, 4 if number == 7 else None)
        return Numbers(count + (before.count if isinstance(before, Numbers) else 0))

    def _tensor(self, start: int, end: int) -> Tensor:
        tensor = Tensor()
        for tag, first, last in self._read.fields(start, end, _TENSOR):
            number = tag >> 3
            if number == 1:
                tensor.dims += self._numbers(tag, first, last)
            elif number == 2:
                tensor.kind = first
            elif number == 8:
                tensor.name = self._text(first, last)
            elif number == 9:
                tensor.raw = first, last
            elif number == 13:
                self._entry(tensor, first, last)
            elif number == 14:
                tensor.location = first
            elif number in _TYPED:
                self._typed(tensor, tag, first, last)
            else:
                self._unused(number, first, last)
        return tensor

    def _unused(self, number: int, first: int, last: int) -> None:
        if number in _NO_TENSOR:
            raise unsafe("a tensor of strings or in segments")
        if number == 16:
            self._notes(first, last)

    def _typed(self, tensor: Tensor, tag: int, first: int, last: int) -> None:
        number = tag >> 3
        count = self._count(tag, first, last, _WIDTHS.get(number))
        tensor.typed[number] = tensor.typed.get(number, 0) + count
        if number in (5, 7) and tensor.typed[number] <= 64:
            tensor.ints += self._numbers(tag, first, last)

    def _count(self, tag: int, first: int, last: int, width: int | None) -> int:
        """How many numbers a field holds: one, or those that are packed in it."""
        if tag & 7 != BYTES:
            return 1
        if width is None:
            return _varints(self._data, first, last)
        count, rest = divmod(last - first, width)
        if rest:
            raise malformed("numbers cut short")
        return count

    def _numbers(self, tag: int, first: int, last: int) -> list[int]:
        """Signed values of a field of varints, packed or not."""
        if tag & 7 == VARINT:
            return [_signed(first)]
        values = []
        while first < last:
            value, first = self._read.varint(first, last)
            values.append(_signed(value))
            if len(values) > 64:
                raise malformed("more than 64 dimensions")
        return values

    def _entry(self, tensor: Tensor, start: int, end: int) -> None:
        pair = {1: "", 2: ""}
        for tag, first, last in self._read.fields(start, end, _ENTRY):
            pair[tag >> 3] = self._text(first, last)
        if pair[1] in tensor.entries:
            raise UnsafePathError(
                f"model.onnx: the key {pair[1][:40]!a} twice in one reference; expected each "
                "once; likely a hostile bundle"
            )
        tensor.entries[pair[1]] = pair[2]

    def _notes(self, start: int, end: int) -> None:
        """Metadata, which nothing reads: refused all the same where protobuf refuses them."""
        for _ in self._read.fields(start, end, _ENTRY):
            pass

    def _text(self, start: int, end: int) -> str:
        if end - start > _LONGEST_TEXT:
            raise malformed(f"a name of {end - start:,} bytes")
        try:
            return self._data[start:end].decode()
        except UnicodeDecodeError:
            raise malformed("a name that is not UTF-8") from None


def _domain(name: str) -> str:
    return "" if name == "ai.onnx" else name


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _varints(data: bytes, start: int, end: int) -> int:
    """How many numbers are packed there. Raises BundleFileError as `Reader.varint` does."""
    if start == end:
        return 0
    found = np.frombuffer(data, np.uint8, end - start, start)
    more = found >= 0x80
    if more[-1]:
        raise malformed("numbers cut short")
    two = more[:-1] & more[1:]
    four = two[:-2] & two[2:]
    nine = (four[:-4] & four[4:])[:-1] & more[8:]
    # Nine bytes hold 63 bits: the tenth has one of its own, and is the last.
    if np.any(nine[: max(len(found) - 9, 0)] & (found[9:] > 1)):
        raise malformed("a number of more than 64 bits")
    return len(found) - int(np.count_nonzero(more))


def small_ints(tensor: Tensor, data: bytes) -> list[int] | None:
    """The values of a constant of at most 64 whole numbers that lies in the file; else None."""
    if tensor.kind not in (6, 7) or tensor.entries:
        return None
    if tensor.raw is None:
        return tensor.ints if sum(tensor.typed.values()) <= 64 else None
    first, last = tensor.raw
    if last - first > 512:
        return None
    return np.frombuffer(data[first:last], "<i4" if tensor.kind == 6 else "<i8").tolist()  # type: ignore[no-any-return]


def unsafe(found: str) -> UnsafeGraphError:
    """The error for a graph that could do more than a guard's."""
    return UnsafeGraphError(
        f"model.onnx: {found}; expected only what the exporter writes: operators that end, on "
        "memory that the file's size bounds; likely a hostile bundle, or one of another exporter"
    )
