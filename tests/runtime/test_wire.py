"""The reader of ONNX files: every field of the format, and nothing that two readers read apart."""

from __future__ import annotations

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from harmguard.bundle import onnx_file
from harmguard.bundle.graph_rules import check_graph_file
from harmguard.bundle.onnx_file import MAX_NODES, MESSAGES, Graph, read_model
from harmguard.bundle.wire import MAX_FIELDS, Reader, message
from harmguard.errors import BundleFileError, UnsafeGraphError
from tests.attacks.graphs import field, varint

PROTOS = (
    onnx.ModelProto, onnx.OperatorSetIdProto, onnx.GraphProto, onnx.NodeProto,
    onnx.AttributeProto, onnx.TensorProto, onnx.StringStringEntryProto,
)  # fmt: skip
# Wire types by protobuf's numbers of types.
KINDS = {1: 1, 2: 5, 3: 0, 4: 0, 5: 0, 8: 0, 9: 2, 11: 2, 12: 2, 14: 0}


@pytest.mark.parametrize(("known", "proto"), list(zip(MESSAGES, PROTOS, strict=True)))
def test_the_fields_are_those_of_the_onnx_package(known: object, proto: type) -> None:
    """A field that a newer package has is refused here until somebody has looked at it."""
    expected = {}
    for one in proto.DESCRIPTOR.fields:  # type: ignore[attr-defined]
        expected[one.number << 3 | KINDS[one.type]] = one.is_repeated
        if one.is_repeated and KINDS[one.type] != 2:
            expected[one.number << 3 | 2] = True
    found = {tag: bit == 0 for tag, bit in known.tags.items()}  # type: ignore[attr-defined]
    assert found == expected
    bits = [bit for bit in known.tags.values() if bit]  # type: ignore[attr-defined]
    assert len(set(bits)) == len(bits)


def test_a_file_is_read_as_it_was_written() -> None:
    tensor = helper.make_tensor("t", TensorProto.INT64, [2], [5, -1])
    nodes = [
        helper.make_node("Constant", [], ["c"], value=tensor),
        helper.make_node("Split", ["c"], ["a", "b"], axis=-1, num_outputs=2),
        helper.make_node("Conv", ["a", "b"], ["y"], pads=[0, 1, 2], alpha=0.5, auto_pad="VALID"),
    ]
    made = helper.make_model(helper.make_graph(nodes, "g", [], [], [tensor]))
    graph = read_model(made.SerializeToString()).graph
    assert [node.op for node in graph.nodes] == ["Constant", "Split", "Conv"]
    assert graph.nodes[1].attributes == {"axis": -1, "num_outputs": 2}
    pads = graph.nodes[2].attributes["pads"]
    assert isinstance(pads, onnx_file.Numbers)
    assert pads.count == 3
    assert (graph.tensors[0].dims, graph.tensors[0].ints) == ([2], [5, -1])
    assert isinstance(read_model(made.SerializeToString()).graph, Graph)


TINY = message("it", {1: 0, 2: 2}, {3: 0, 4: 2})


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"\x08", "cut short"),
        (b"\x08\xff", "cut short"),
        (b"\x08" + b"\xff" * 9 + b"\x7f", "more than 64 bits"),
        (b"\x08" + b"\x80" * 12, "more than ten bytes"),
        (b"\x12\x05ab", "a field of 5 bytes with 2 left"),
        (b"\x12\x00\x12\x00", "field 2 twice"),
        (b"\x08\x01\x08\x01", "field 1 twice"),
        (b"\x0a\x00", "field 1 of wire type 2"),
        (b"\x2a\x00", "field 5 of wire type 2"),
        (b"\x88\x00\x01", "a tag of 2 bytes"),
        (b"\x0b", "field 1 of wire type 3"),
        (b"\x0e", "field 1 of wire type 6"),
    ],
)
def test_bytes_that_are_refused(data: bytes, match: str) -> None:
    with pytest.raises(BundleFileError, match=match):
        list(Reader(data).fields(0, len(data), TINY))


def test_lists_of_numbers_may_be_packed() -> None:
    data = b"\x18\x07" + b"\x1a\x03\x01\x02\x03" + b"\x22\x01x" * 2
    assert [tag >> 3 for tag, _, _ in Reader(data).fields(0, len(data), TINY)] == [3, 3, 4, 4]


def test_fields_and_operators_have_a_limit() -> None:
    many = b"\x22\x00" * (MAX_FIELDS + 1)
    with pytest.raises(BundleFileError, match="more than 1,000,000 fields"):
        list(Reader(many).fields(0, len(many), TINY))
    nodes = field(varint(1 << 3 | 2), b"") * (MAX_NODES + 1)
    with pytest.raises(UnsafeGraphError, match="more than 50,000 operators"):
        read_model(field(varint(7 << 3 | 2), nodes))


@pytest.mark.parametrize("count", [17, 65, 1000])
def test_a_tensor_of_many_dimensions(count: int) -> None:
    tensor = TensorProto(name="t", data_type=1, dims=[1] * count, raw_data=bytes(4))
    made = helper.make_model(
        helper.make_graph([], "g", [], [], [tensor]), opset_imports=[helper.make_opsetid("", 18)]
    )
    with pytest.raises(UnsafeGraphError, match="more than 16"):
        check_graph_file(made.SerializeToString(), {}, 18, 64)


@pytest.mark.parametrize(
    ("kind", "dims", "size"), [(1, [3], 12), (3, [5], 5), (10, [7], 14), (22, [3], 2), (9, [0], 0)]
)
def test_a_constant_has_the_bytes_of_its_shape(kind: int, dims: list[int], size: int) -> None:
    def made(count: int) -> bytes:
        tensor = TensorProto(name="t", data_type=kind, dims=dims, raw_data=bytes(count))
        opset = [helper.make_opsetid("", 18)]
        graph = helper.make_graph([], "g", [], [], [tensor])
        return bytes(helper.make_model(graph, opset_imports=opset).SerializeToString())

    assert check_graph_file(made(size), {}, 18, 64) == ()
    with pytest.raises(UnsafeGraphError, match="data are not as many"):
        check_graph_file(made(size + 1), {}, 18, 64)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_gather_of_another_number_of_inputs(count: int) -> None:
    """Found by fuzzing: one input of a constant was an IndexError."""
    ones = helper.make_tensor("t", TensorProto.INT64, [2], [5, 1])
    node = helper.make_node("Gather", ["t"] * count, ["y"])
    made = helper.make_model(
        helper.make_graph([node], "g", [], [], [ones]),
        opset_imports=[helper.make_opsetid("", 18)],
    )
    with pytest.raises(UnsafeGraphError, match=f"a Gather of {count} inputs"):
        check_graph_file(made.SerializeToString(), {}, 18, 64)


@pytest.mark.parametrize("place", ["model", "graph", "node", "tensor"])
def test_metadata_that_protobuf_refuses(place: str) -> None:
    """Found by fuzzing: a pair cut short was skipped here, and refused by the onnx package."""
    tensor = helper.make_tensor("t", TensorProto.INT64, [2], [5, 1])
    node = helper.make_node("Identity", ["t"], ["y"])
    made = helper.make_model(helper.make_graph([node], "g", [], [], [tensor]))
    part = {
        "model": made, "graph": made.graph, "node": made.graph.node[0],
        "tensor": made.graph.initializer[0],
    }[place]  # fmt: skip
    part.metadata_props.add(key="k", value="vvvv")
    data = made.SerializeToString()
    read_model(data)
    spoilt = data.replace(b"\x0a\x01k\x12\x04vvvv", b"\x0a\x01k\x12\x05vvvv")
    assert spoilt != data
    with pytest.raises(BundleFileError):
        read_model(spoilt)


@given(st.lists(st.binary(max_size=12), max_size=4).map(b"".join))
def test_packed_numbers_are_counted_as_they_are_read(data: bytes) -> None:
    """Found by fuzzing: a packed list whose last number was cut short was counted."""
    count, start = 0, 0
    try:
        while start < len(data):
            _, start = Reader(data).varint(start, len(data))
            count += 1
    except BundleFileError:
        with pytest.raises(BundleFileError):
            onnx_file._varints(data, 0, len(data))
    else:
        assert onnx_file._varints(data, 0, len(data)) == count


@pytest.mark.parametrize("number", [5, 7, 11])
@pytest.mark.parametrize(
    "packed", [b"\x80", b"\x01\xff", b"\xff" * 10 + b"\x01", b"\x01" + b"\xff" * 9 + b"\x02"]
)
def test_packed_numbers_that_protobuf_refuses_or_cuts(number: int, packed: bytes) -> None:
    tensor = TensorProto(name="t", data_type=1, dims=[1]).SerializeToString()
    tensor += field(varint(number << 3 | 2), packed)
    graph = field(varint(5 << 3 | 2), tensor)
    with pytest.raises(BundleFileError, match=r"cut short|64 bits|ten bytes"):
        read_model(field(varint(7 << 3 | 2), graph))
