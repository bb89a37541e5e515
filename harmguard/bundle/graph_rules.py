"""What the graph of a guard may do: end, take memory that its size bounds, and be the same twice.

A stranger's graph could loop 2^62 times, double a constant forty times over, draw random numbers,
or read a file. The exporters write none of that, so it is refused before onnxruntime sees it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import prod
from typing import NamedTuple

from harmguard.bundle.onnx_file import (
    EXTERNAL,
    Graph,
    Node,
    Numbers,
    Tensor,
    read_model,
    small_ints,
    unsafe,
)
from harmguard.bundle.operators import AMPLIFYING, FIRST_INPUT, MICROSOFT, STANDARD
from harmguard.bundle.positions import check_positions
from harmguard.errors import GraphMismatchError, UnsafePathError

MAX_HEADS = 1024
_MAX_BODY_NODES = 64
_MAX_DIMENSIONS = 16
_LEAST_ELEMENTS = 1 << 20
"""What constants of a small file may have all the same: a mask of 1,024 by 1,024 positions."""
# Bits of an element of each TensorProto.DataType; others are refused.
_BITS = {1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64} | {
    16: 16, 17: 8, 18: 8, 19: 8, 20: 8, 21: 4, 22: 4,
}  # fmt: skip
_IN_FILES = {*range(1, 8), *range(9, 14)}
"""Those that numpy has too."""
# The second input of these, a matrix, is what kernels pack into memory of their own.
_PACKING = {"MatMul", "Gemm", "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul"} | {
    "QAttention", "Attention", "FusedMatMul", "QGemm", "QLinearMatMul", "MatMulNBits",
}  # fmt: skip


class Weight(NamedTuple):
    """A constant in a file beside the graph; `packed` if all its users pack it."""

    name: str
    location: str
    offset: int
    length: int
    dims: tuple[int, ...]
    kind: int
    packed: bool


def check_graph_file(
    data: bytes, sizes: Mapping[str, int], opset: int, max_tokens: int
) -> tuple[Weight, ...]:
    """Check the ONNX file `data`, and return its weights that lie in other files.

    `sizes` maps the files that the manifest lists to their sizes; a reference must name one and
    stay within it. `opset` and
    `max_tokens` are the manifest's.

    Raises BundleFileError, UnsafePathError, UnsafeGraphError, or GraphMismatchError for another
    opset, or a table of fewer positions than `max_tokens`.
    """
    model = read_model(data)
    if model.opsets.get("") != opset:
        raise GraphMismatchError(
            f"model.onnx: its opset is {model.opsets.get('')}; expected {opset} as requires.opset "
            "says; likely a model file of another bundle"
        )
    weights = _Check(model.graph, data, sizes).weights()
    check_positions(model.graph, data, max_tokens)
    return weights


class _Check:
    def __init__(self, graph: Graph, data: bytes, sizes: Mapping[str, int]) -> None:
        self._graph = graph
        self._data = data
        self._sizes = sizes
        self._constants: dict[str, int] = {}
        """Elements, at most, of every value that no input of the model can change."""
        self._known: dict[str, Tensor] = {}
        self._makers: dict[str, Node] = {}
        self._limit = max(_LEAST_ELEMENTS, len(data) + sum(sizes.values()))
        self._total = 0

    def weights(self) -> tuple[Weight, ...]:
        outside: list[Tensor] = []
        for tensor in self._graph.tensors:
            if tensor.name in self._constants:
                raise unsafe(f"the constant {tensor.name[:40]!a} twice")
            self._constants[tensor.name] = self._tensor(tensor)
            self._known[tensor.name] = tensor
            if tensor.entries:
                outside.append(tensor)
        loose: set[str] = set()
        for node in self._graph.nodes:
            self._node(node, loose)
        return tuple(self._weight(tensor, tensor.name not in loose) for tensor in outside)

    def _weight(self, tensor: Tensor, packed: bool) -> Weight:
        entries = tensor.entries
        offset, length = int(entries.get("offset", "0")), int(entries["length"])
        place = entries["location"], offset, length
        return Weight(tensor.name, *place, tuple(tensor.dims), tensor.kind, packed)

    # Constants

    def _tensor(self, tensor: Tensor) -> int:
        """Check where a constant lies and that it is as large as its shape says; its elements."""
        if tensor.entries or tensor.location:
            self._reference(tensor)
        if tensor.kind not in _BITS:
            raise unsafe(f"a tensor of type {tensor.kind}")
        if len(tensor.dims) > _MAX_DIMENSIONS or any(size < 0 for size in tensor.dims):
            raise unsafe(f"a negative dimension, or more than {_MAX_DIMENSIONS} of them")
        count = prod(tensor.dims)
        size = -(-count * _BITS[tensor.kind] // 8)
        if (tensor.raw is not None) + bool(tensor.typed) + bool(tensor.entries) > 1:
            raise unsafe("a constant whose data are there twice")
        if tensor.entries:
            if tensor.kind not in _IN_FILES:
                raise unsafe(f"a tensor of type {tensor.kind} in another file")
            right = int(tensor.entries["length"]) == size
        elif tensor.raw is not None:
            right = tensor.raw[1] - tensor.raw[0] == size
        else:
            found = sum(tensor.typed.values())
            # Two numbers of 4 bits share one element.
            right = found in (count, -(-count // 2) if _BITS[tensor.kind] == 4 else count)
        if not right:
            raise unsafe(f"a constant of {count:,} elements whose data are not as many")
        return count

    def _reference(self, tensor: Tensor) -> None:
        location = tensor.entries.get("location", "")
        if location not in self._sizes or location == "model.onnx":
            raise _unsafe_path(f"a reference to {location[:80]!a}")
        offset = _number(tensor.entries.get("offset", "0"))
        length = _number(tensor.entries.get("length", "none"))
        if offset + length > self._sizes[location]:
            raise _unsafe_path(
                f"bytes {offset:,} to {offset + length:,} of {location} ({self._sizes[location]:,})"
            )
        if tensor.location != EXTERNAL:
            raise _unsafe_path("a reference that is not marked as one")

    # Nodes

    def _node(self, node: Node, loose: set[str], inside: bool = False) -> None:
        """Check one operator; adds to `loose` the constants that it does not pack."""
        self._allowed(node)
        packs = node.op in _PACKING and not inside
        for place, name in enumerate(node.inputs):
            tensor = self._known.get(name)
            if tensor is not None and not (
                packs and place == 1 and len(tensor.dims) == 2 + (node.op == "MatMulNBits")
            ):
                loose.add(name)
        count = self._constant_elements(node)
        for name in filter(None, node.outputs):
            if name in self._makers or name in self._constants:
                raise unsafe(f"the value {name[:40]!a} made twice")
            self._makers[name] = node
            if count is not None:
                self._constants[name] = count
        if node.op == "Scan":
            self._scan(node, loose)

    def _allowed(self, node: Node) -> None:
        allowed = {"": STANDARD, "com.microsoft": MICROSOFT}.get(node.domain, frozenset())
        if node.op not in allowed:
            where = f" of {node.domain[:40]!a}" if node.domain else ""
            raise unsafe(f"the operator {node.op[:40]!a}{where}")
        for name, value in node.attributes.items():
            if isinstance(value, Graph) and (node.op, name) != ("Scan", "body"):
                raise unsafe(f"a graph in {node.op}")
            if isinstance(value, Tensor):
                if value.entries or value.location:
                    self._reference(value)
                    raise _unsafe_path("a reference outside the graph's weights")
                self._tensor(value)
        if node.op in ("Div", "Mod") and len(node.inputs) > 1:
            divisor = self._known.get(node.inputs[1])
            # Some releases of onnxruntime end the process at a division by zero.
            if divisor is not None and 0 in (small_ints(divisor, self._data) or ()):
                raise unsafe("a division by zero")

    def _constant_elements(self, node: Node) -> int | None:
        """Elements, at most, of what a node makes of constants alone; None if it does not."""
        given = [self._constants.get(name, -1) for name in node.inputs if name]
        if -1 in given or node.op == "Scan":
            return None
        if node.op in AMPLIFYING:
            raise unsafe(f"{node.op} of constants alone")
        if node.op == "Constant":
            return self._constant(node)
        if node.op in ("ConstantOfShape", "Expand", "Tile", "Range"):
            count = self._filled(node, given)
        elif node.op == "Concat":
            count = sum(given)
        elif node.op in ("Shape", "Size"):
            count = 64
        elif node.op in FIRST_INPUT:
            count = given[0] if given else 0
        elif node.op == "Gather":
            count = self._gathered(node, given)
        else:
            count = prod(given)
        self._total += count
        if count > self._limit or self._total > 16 * self._limit:
            raise unsafe(f"constants of {count:,} elements that {node.op} makes")
        return max(count, 1)

    def _constant(self, node: Node) -> int:
        (value,) = node.attributes.values() if len(node.attributes) == 1 else (None,)
        if isinstance(value, Tensor):
            self._known.update(dict.fromkeys(node.outputs, value))
            return prod(value.dims)
        if value is None:
            raise unsafe("a Constant without one value")
        return value.count if isinstance(value, Numbers) else 1

    def _gathered(self, node: Node, given: list[int]) -> int:
        if len(given) != 2 or len(node.inputs) != 2:
            raise unsafe(f"a Gather of {len(node.inputs)} inputs")
        data, axis = self._known.get(node.inputs[0]), node.attributes.get("axis", 0)
        if (
            data is None
            or not isinstance(axis, int)
            or not -len(data.dims) <= axis < len(data.dims)
        ):
            return prod(given)
        return given[0] // max(1, data.dims[axis]) * given[1]

    def _filled(self, node: Node, given: list[int]) -> int:
        """Elements of what is filled, repeated or counted by numbers that the file holds."""
        names = node.inputs[:3] if node.op == "Range" else node.inputs[-1:]
        known = [small_ints(self._known[n], self._data) for n in names if n in self._known]
        if len(known) != len(names) or None in known:
            raise unsafe(f"{node.op} by numbers that are not in the file")
        values = [abs(value) for numbers in known for value in numbers or ()]
        if node.op == "Range":
            return sum(values)
        return prod(max(1, value) for value in values) * (given[0] if len(given) > 1 else 1)

    # The exporter's Scan

    def _scan(self, node: Node, loose: set[str]) -> None:
        body = node.attributes.get("body")
        if not isinstance(body, Graph) or set(node.attributes) != {"body", "num_scan_inputs"}:
            raise unsafe("a Scan with states, axes or directions")
        inputs = len(node.inputs)
        if node.attributes["num_scan_inputs"] != inputs or body.inputs != inputs:
            raise unsafe("a Scan with states")
        if body.outputs != 1 or len(node.outputs) != 1:
            raise unsafe("a Scan with several outputs")
        if body.tensors or len(body.nodes) > _MAX_BODY_NODES:
            raise unsafe("a Scan whose body is not the exporter's")
        if not all(self._by_heads(name) for name in node.inputs):
            raise unsafe("a Scan whose turns are not groups of heads")
        for inner in body.nodes:
            if inner.op == "Scan":
                raise unsafe("a Scan within a Scan")
            self._node(inner, loose, inside=True)

    def _by_heads(self, name: str) -> bool:
        """Whether a value's first axis is a number of heads divided by something."""
        for op, place in (("Reshape", 1), ("Concat", 0), ("Div", 0)):
            node = self._makers.get(name)
            if node is None or (node.op, node.domain) != (op, "") or len(node.inputs) <= place:
                return False
            if op == "Concat" and node.attributes.get("axis") != 0:
                return False
            name = node.inputs[place]
        heads = small_ints(self._known[name], self._data) if name in self._known else None
        return heads is not None and len(heads) == 1 and 0 < heads[0] <= MAX_HEADS


def _number(digits: str) -> int:
    if not re.fullmatch(r"[0-9]{1,18}", digits):
        raise _unsafe_path(f"an offset or length {digits[:40]!a}")
    return int(digits)


def _unsafe_path(found: str) -> UnsafePathError:
    return UnsafePathError(
        f"model.onnx: {found}; expected external data within a file that guard.json lists; "
        "likely a hostile bundle, or a data file that was renamed"
    )
