"""Graphs that read elsewhere, hang, fill memory, draw lots, or are read in two ways."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from harmguard import HarmGuardError
from harmguard.errors import BundleFileError, GraphMismatchError, UnsafeGraphError, UnsafePathError
from tests.attacks.base import Attack, edit, model, put, put_model

Change = Callable[[Path], object]
node = helper.make_node


def numbers(name: str, values: Any, kind: Any = np.int64) -> TensorProto:
    return numpy_helper.from_array(np.array(values, kind), name)


def graph(change: Callable[[onnx.ModelProto], object]) -> Change:
    """Change the parsed graph."""

    def apply(folder: Path) -> None:
        made = model(folder)
        change(made)
        put_model(folder, made)

    return apply


def nodes(*made: onnx.NodeProto, constants: tuple[TensorProto, ...] = ()) -> Change:
    """Add operators, whose results nobody uses, and their constants."""

    def change(given: onnx.ModelProto) -> None:
        given.graph.initializer.extend(constants)
        given.graph.node.extend(made)

    return graph(change)


def external(name: str = "other", dims: tuple[int, ...] = (4,), **entries: str) -> TensorProto:
    """A tensor of 4 floats that says its data lies elsewhere."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=dims)
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def weight(tensor: TensorProto) -> Change:
    """Add a constant, and a data file of 16 bytes that a good one would lie in."""

    def change(folder: Path) -> None:
        put(folder, "data.bin", bytes(16))
        graph(lambda made: made.graph.initializer.append(tensor))(folder)

    return change


def requires(opset: int) -> Change:
    """The manifest asks for another opset than the graph has."""
    return lambda folder: edit(folder, lambda value: value["requires"].update(opset=opset))


# The wire format


def varint(value: int, length: int = 0) -> bytes:
    out = bytearray()
    while value > 0x7F or len(out) + 1 < length:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(tag: bytes, body: bytes) -> bytes:
    return tag + varint(len(body)) + body


def raw_tensor(extra: bytes) -> Change:
    """Add a constant whose bytes end with `extra`."""

    def change(folder: Path) -> None:
        put(folder, "data.bin", bytes(16))
        tensor = TensorProto(
            name="other", data_type=1, dims=[1], float_data=[0]
        ).SerializeToString()
        inner = field(varint(5 << 3 | 2), tensor + extra)
        # A second graph field would be refused: lengthen the one that is there.
        data = (folder / "model.onnx").read_bytes()
        made = onnx.load_from_string(data)
        body = made.graph.SerializeToString(deterministic=True) + inner
        made.ClearField("graph")
        whole = made.SerializeToString(deterministic=True) + field(varint(7 << 3 | 2), body)
        put(folder, "model.onnx", whole)

    return change


REFERENCE = external(location="data.bin").external_data[0].SerializeToString()
EXTERNAL_DATA = 13 << 3 | 2
WIRE: dict[str, tuple[type[HarmGuardError], str, bytes]] = {
    f"tag-with-bit-{bit}": (
        BundleFileError, "a tag of|a number of more than",
        field(varint(EXTERNAL_DATA | 1 << bit), REFERENCE),
    )
    for bit in (32, 33, 40, 56, 63)
} | {
    "tag-padded-to-2": (BundleFileError, "a tag of", field(varint(EXTERNAL_DATA, 2), REFERENCE)),
    "tag-padded-to-5": (BundleFileError, "a tag of", field(varint(EXTERNAL_DATA, 5), REFERENCE)),
    "tag-padded-to-10": (BundleFileError, "a tag of", field(varint(EXTERNAL_DATA, 10), REFERENCE)),
    "tag-of-eleven-bytes": (BundleFileError, "more than ten", field(b"\xea" + b"\x80" * 10, b"")),
    "field-0": (BundleFileError, "field 0", field(varint(2), REFERENCE)),
    "field-0-varint": (BundleFileError, "field 0", varint(0) + varint(7)),
    "field-30": (BundleFileError, "field 30 of wire type 2", field(varint(30 << 3 | 2), REFERENCE)),
    "field-15-unknown": (BundleFileError, "field 15", field(varint(15 << 3 | 2), b"")),
    "reference-as-a-number": (BundleFileError, "field 13 of wire type 0", varint(13 << 3) + b"\1"),
    "reference-as-a-group": (
        BundleFileError, "field 13 of wire type 3", varint(13 << 3 | 3) + varint(13 << 3 | 4),
    ),
    "name-twice": (BundleFileError, "field 8 twice", field(varint(8 << 3 | 2), b"x")),
    "type-twice": (BundleFileError, "field 2 twice", varint(2 << 3) + b"\1"),
    "name-not-text": (BundleFileError, "a name that is not UTF-8", field(varint(EXTERNAL_DATA),
        field(varint(1 << 3 | 2), b"loc\xff"))),
    "location-of-a-megabyte": (BundleFileError, "a name of 1,000,000 bytes",
        field(varint(EXTERNAL_DATA), field(varint(2 << 3 | 2), b"x" * 1_000_000))),
    "place-of-33-bits": (
        UnsafePathError, "a reference to ''", varint(14 << 3) + varint(1 << 32 | 1),
    ),
    "place-unknown": (UnsafePathError, "a reference to ''", varint(14 << 3) + b"\2"),
}  # fmt: skip


def split_reference(folder: Path) -> None:
    """One attribute with two tensors, which readers join to one."""
    put(folder, "data.bin", bytes(16))
    made = model(folder)
    constant = node("Constant", [], ["hidden"], value=external(location="data.bin", length="16"))
    second = external(location="/etc/hostname").SerializeToString()
    attribute = constant.attribute[0].SerializeToString() + field(varint(5 << 3 | 2), second)
    constant.ClearField("attribute")
    body = constant.SerializeToString() + field(varint(5 << 3 | 2), attribute)
    inner = made.graph.SerializeToString(deterministic=True) + field(varint(1 << 3 | 2), body)
    made.ClearField("graph")
    put(folder, "model.onnx", made.SerializeToString() + field(varint(7 << 3 | 2), inner))


# Graphs within graphs


def scan(
    body_nodes: list[onnx.NodeProto] | None = None, heads: Any = (4,), **attributes: Any
) -> tuple[tuple[onnx.NodeProto, ...], tuple[TensorProto, ...]]:
    """A Scan as the exporter writes it, but for what is asked."""
    value = helper.make_tensor_value_info
    inner = body_nodes or [node("Identity", ["slice"], ["turn"])]
    body = helper.make_graph(
        inner, "turn", [value("slice", 1, None)], [value(inner[-1].output[0], 1, None)]
    )
    made = (
        node("Shape", ["input_ids"], ["shape"]),
        node("Div", ["heads", "some"], ["groups"]),
        node("Concat", ["groups", "shape"], ["grouped"], axis=0),
        node("Cast", ["input_ids"], ["floats"], to=1),
        node("Reshape", ["floats", "grouped"], ["slices"]),
        node("Scan", ["slices"], ["turns"], **{"body": body, "num_scan_inputs": 1, **attributes}),
    )
    return made, (numbers("heads", heads), numbers("some", [4]))


def scanned(*args: Any, **attributes: Any) -> Change:
    made, constants = scan(*args, **attributes)
    return nodes(*made, constants=constants)


def scan_by_length(folder: Path) -> None:
    """As many turns as the text has tokens."""
    made, constants = scan()
    made[-1].input[0] = "floats"
    nodes(*made, constants=constants)(folder)


def scan_with_state(folder: Path) -> None:
    made, constants = scan()
    made[-1].input.insert(0, "floats")
    nodes(*made, constants=constants)(folder)


def scan_with_constants(folder: Path) -> None:
    made, constants = scan()
    made[-1].attribute[0].g.initializer.append(numbers("inside", [1]))
    nodes(*made, constants=constants)(folder)


def inner_graph(*made: onnx.NodeProto) -> onnx.GraphProto:
    return helper.make_graph(list(made), "inner", [], [])


def function(given: onnx.ModelProto) -> None:
    made = [node("Add", ["x", "x"], ["y"])]
    opset = [helper.make_opsetid("", 18)]
    given.functions.append(helper.make_function("own", "Double", ["x"], ["y"], made, opset))


def training(given: onnx.ModelProto) -> None:
    given.training_info.append(onnx.TrainingInfoProto(initialization=inner_graph()))


def sparse(given: onnx.ModelProto) -> None:
    values = numbers("few", [1], np.float32)
    tensor = onnx.SparseTensorProto(values=values, indices=numbers("at", [5]), dims=[1 << 40])
    given.graph.sparse_initializer.append(tensor)


def huge(dims: list[int]) -> TensorProto:
    """A constant that says it has more elements than bytes."""
    return TensorProto(name="other", data_type=1, dims=dims, raw_data=bytes(4))


def domain(name: str) -> Change:
    def change(given: onnx.ModelProto) -> None:
        given.opset_import.append(helper.make_opsetid(name, 1))
        given.graph.node.append(node("Own", ["input_ids"], ["own"], domain=name))

    return graph(change)


def doubling(op: str, times: int) -> Change:
    """A constant that each operator makes twice, or the square of, as large."""
    axis: dict[str, Any] = {"axis": 0} if op == "Concat" else {}
    made = [node(op, [f"c{i}", f"c{i}"], [f"c{i + 1}"], **axis) for i in range(times)]
    return nodes(*made, constants=(numbers("c0", [[1.0] * 64] * 64, np.float32),))


BRANCH = {"then_branch": inner_graph(), "else_branch": inner_graph()}
LOOP = node("Loop", ["many", ""], ["end"], body=inner_graph())
SHAPE = numbers("shape", [1 << 20, 1 << 20])
UNSAFE: dict[str, tuple[str, Change]] = {
    "if": ("the operator 'If'", nodes(node("If", ["input_ids"], ["y"], **BRANCH))),
    "loop": ("the operator 'Loop'", nodes(LOOP, constants=(numbers("many", 1 << 50),))),
    "sequence-map": (
        "the operator 'SequenceMap'", nodes(node("SequenceMap", ["input_ids"], ["y"],
        body=inner_graph())),
    ),
    "graph-in-another-operator": (
        "a graph in Identity", nodes(node("Identity", ["input_ids"], ["y"], body=inner_graph())),
    ),
    "beam-search": (
        "the operator 'BeamSearch' of 'com.microsoft'",
        nodes(node("BeamSearch", ["input_ids"], ["y"], domain="com.microsoft")),
    ),
    **{
        f"random-{op}": (f"the operator '{op}'", nodes(node(op, ["input_ids"], ["y"])))
        for op in ("RandomUniformLike", "RandomNormalLike", "Bernoulli", "Multinomial", "Dropout")
    },
    **{
        f"text-{op}": (f"the operator '{op}'", nodes(node(op, ["input_ids"], ["y"])))
        for op in ("StringNormalizer", "RegexFullMatch", "TfIdfVectorizer", "ImageDecoder")
    },
    "function": ("a local function", graph(function)),
    "training": ("a training graph", graph(training)),
    "sparse": ("a sparse tensor", graph(sparse)),
    **{
        f"domain-{name or 'none'}": ("the operator 'Own'", domain(name))
        for name in ("own", "ai.onnx.ml", "com.microsoft.experimental", "ai.onnx.preview.training")
    },
    "scan-by-length": ("turns are not groups of heads", scan_by_length),
    "scan-with-a-state": ("a Scan with states", scan_with_state),
    "scan-with-constants": ("body is not the exporter's", scan_with_constants),
    "scan-of-many-heads": ("turns are not groups of heads", scanned(None, (1 << 40,))),
    "scan-of-no-heads": ("turns are not groups of heads", scanned(None, (0,))),
    "scan-backwards": ("states, axes or directions", scanned(scan_input_directions=[1])),
    "scan-along-another-axis": ("states, axes or directions", scanned(scan_input_axes=[1])),
    "scan-of-many-operators": (
        "body is not the exporter's",
        scanned([node("Identity", ["slice" if i == 0 else f"t{i}"], [f"t{i + 1}"])
        for i in range(65)]),
    ),
    "scan-with-a-branch": (
        "a graph within a graph", scanned([node("If", ["slice"], ["turn"], **BRANCH)]),
    ),
    "scan-with-noise": (
        "the operator 'Bernoulli'", scanned([node("Bernoulli", ["slice"], ["turn"])]),
    ),
    "constant-doubled": ("constants of .* that Concat makes", doubling("Concat", 30)),
    "constant-multiplied": ("constants of .* that Mul makes", doubling("Mul", 3)),
    "constant-product": ("constants of .* that MatMul makes", doubling("MatMul", 3)),
    "constant-of-shape": (
        "constants of .* that ConstantOfShape makes",
        nodes(node("ConstantOfShape", ["shape"], ["y"]), constants=(SHAPE,)),
    ),
    "constant-expanded": (
        "constants of .* that Expand makes",
        nodes(node("Expand", ["unit", "shape"], ["y"]), constants=(SHAPE, numbers("unit", [1.0]))),
    ),
    "constant-tiled": (
        "constants of .* that Tile makes",
        nodes(node("Tile", ["unit", "shape"], ["y"]), constants=(SHAPE, numbers("unit", [[1.0]]))),
    ),
    "constant-range": (
        "constants of .* that Range makes",
        nodes(node("Range", ["a", "b", "c"], ["y"]),
        constants=(numbers("a", 0), numbers("b", 1 << 40), numbers("c", 1))),
    ),
    "constant-padded": (
        "Pad of constants alone",
        nodes(node("Pad", ["unit", "shape"], ["y"]), constants=(SHAPE, numbers("unit", [1.0]))),
    ),
    "constant-of-a-computed-shape": (
        "by numbers that are not in the file",
        nodes(node("Mul", ["shape", "shape"], ["more"]), node("ConstantOfShape", ["more"], ["y"]),
        constants=(SHAPE,)),
    ),
    "constant-by-a-constant-node": (
        "constants of .* that ConstantOfShape makes",
        nodes(node("Constant", [], ["s"], value=SHAPE), node("ConstantOfShape", ["s"], ["y"])),
    ),
    "constant-larger-than-its-bytes": ("data are not as many", weight(huge([1 << 40]))),
    "constant-of-many-dimensions": ("data are not as many", weight(huge([1 << 20] * 3))),
    "constant-without-elements-but-bytes": ("data are not as many", weight(huge([0]))),
    "constant-below-zero": ("a negative dimension", weight(huge([-1, -1]))),
    "constant-of-strings": (
        "a tensor of strings",
        weight(TensorProto(name="other", data_type=8, dims=[1], string_data=[b"x"])),
    ),
    "constant-of-complex-numbers": (
        "a tensor of type 14", weight(TensorProto(name="other", data_type=14, raw_data=bytes(8))),
    ),
    "constant-there-twice": (
        "data are there twice",
        weight(TensorProto(name="other", data_type=1, dims=[1], raw_data=bytes(4), float_data=[1])),
    ),
    "constant-twice-by-name": ("the constant 'length' twice", weight(numbers("length", [0]))),
    "value-made-twice": (
        "the value 'y' made twice", nodes(*[node("Identity", ["input_ids"], ["y"])] * 2),
    ),
    "external-larger-than-its-bytes": (
        "data are not as many",
        weight(external(dims=(1 << 40,), location="data.bin", length="16")),
    ),
    "division-by-zero": (
        "a division by zero", nodes(node("Div", ["input_ids", "none"], ["y"]),
        constants=(numbers("none", [0]),)),
    ),
    "remainder-by-zero": (
        "a division by zero", nodes(node("Mod", ["input_ids", "none"], ["y"]),
        constants=(numbers("none", [3, 0, 1]),)),
    ),
    "many-operators": (
        "more than 50,000 operators", graph(lambda given: given.graph.node.extend(
        [node("Identity", ["input_ids"], [f"y{i}"]) for i in range(50_001)])),
    ),
}  # fmt: skip
PATHS: dict[str, tuple[str, Change]] = {
    "the-graph-itself": ("'model.onnx'", weight(external(location="model.onnx", length="16"))),
    "the-tokenizer": ("'tokenizer.json'", weight(external(location="tokenizer.json", length="16"))),
    "the-golden-pairs": ("'golden.jsonl'", weight(external(location="golden.jsonl", length="16"))),
    "the-manifest": ("'guard.json'", weight(external(location="guard.json", length="16"))),
    "the-process": ("'/proc/self/mem'", weight(external(location="/proc/self/mem", length="16"))),
    "memory": ("ORT_MEM", weight(external(location="*/_ORT_MEM_ADDR_/*", length="16"))),
    "other-case": ("'DATA.BIN'", weight(external(location="DATA.BIN", length="16"))),
    "with-a-slash": ("'data.bin/'", weight(external(location="data.bin/", length="16"))),
    "a-device": ("'/dev/zero'", weight(external(location="/dev/zero", length="16"))),
    "a-url": ("'http://", weight(external(location="http://localhost/data.bin", length="16"))),
    "beyond-the-end": (
        "bytes 16 to 32",
        weight(external(location="data.bin", offset="16", length="16")),
    ),
    "in-an-operator": (
        "a reference to",
        nodes(node("Constant", [], ["y"], value=external(location="/etc/hostname"))),
    ),
}
ATTACKS = {
    **{f"wire-{n}": Attack(error, m, raw_tensor(extra)) for n, (error, m, extra) in WIRE.items()},
    "wire-split-reference": Attack(BundleFileError, "field 5 twice", split_reference),
    **{f"unsafe-{n}": Attack(UnsafeGraphError, m, change) for n, (m, change) in UNSAFE.items()},
    **{f"path-to-{n}": Attack(UnsafePathError, m, change) for n, (m, change) in PATHS.items()},
    **{
        f"opset-{opset}": Attack(
            GraphMismatchError, f"its opset is 18; expected {opset}",
            requires(opset),
        )
        for opset in (1, 17, 19)
    },
    "no-opset": Attack(
        GraphMismatchError, "its opset is None",
        graph(lambda given: given.ClearField("opset_import")),
    ),
}  # fmt: skip
