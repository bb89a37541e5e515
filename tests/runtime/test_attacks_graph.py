"""Graphs made to break the reader: each one named error, and never a crash or a hang."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from harmguard import HarmGuard
from harmguard.errors import (
    BundleFileError,
    GraphMismatchError,
    UnsafeGraphError,
    UnsafePathError,
    UnsupportedVersionError,
)
from tests.attacks.base import edit, put
from tests.attacks.base import model as graph
from tests.attacks.base import put_model as put_graph
from tests.attacks.graphs import external

from .refusing import refused


@pytest.fixture
def folder(needle_bundle: Path, tmp_path: Path) -> Path:
    """A copy of a bundle, to be spoilt."""
    return Path(shutil.copytree(needle_bundle, tmp_path / "guard"))


def test_graph_that_lacks_an_input(folder: Path) -> None:
    edit(folder, lambda v: v["input"].update(names=["input_ids", "attention_mask"]))
    refused(folder, GraphMismatchError, "inputs are named .*token_type_ids.* expected")


def test_graph_with_renamed_input(folder: Path) -> None:
    model = graph(folder)
    model.graph.input[0].name = "ids"
    model.graph.node[0].input[1] = "ids"
    put_graph(folder, model)
    refused(folder, GraphMismatchError, "inputs are named .*'ids'")


def test_graph_with_another_dtype(folder: Path) -> None:
    model = graph(folder)
    for value in model.graph.input:
        value.type.tensor_type.elem_type = TensorProto.INT32
    put_graph(folder, model)
    refused(folder, GraphMismatchError, r"is 'tensor\(int32\)'; expected 'tensor\(int64\)'")


def test_graph_with_fixed_batch(folder: Path) -> None:
    model = graph(folder)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    put_graph(folder, model)
    refused(folder, GraphMismatchError, r"input_ids has shape .* both free")


def test_graph_with_another_rank(folder: Path) -> None:
    model = graph(folder)
    shape = model.graph.input[2].type.tensor_type.shape
    shape.dim.add().dim_value = 1
    model.graph.node.insert(0, helper.make_node("Squeeze", ["token_type_ids", "axis"], ["flat"]))
    model.graph.initializer.append(helper.make_tensor("axis", TensorProto.INT64, [1], [2]))
    for node in list(model.graph.node)[1:]:
        node.input[:] = ["flat" if name == "token_type_ids" else name for name in node.input]
    put_graph(folder, model)
    refused(folder, GraphMismatchError, r"token_type_ids has shape .* expected '\[batch, length\]")


def test_graph_with_another_output(folder: Path) -> None:
    model = graph(folder)
    model.graph.node.append(helper.make_node("Softmax", ["logits"], ["scores"]))
    model.graph.output[0].name = "scores"
    put_graph(folder, model)
    refused(folder, GraphMismatchError, "outputs are named .*scores.*expected .*logits")


def test_graph_with_three_labels(folder: Path) -> None:
    model = graph(folder)
    concat = next(node for node in model.graph.node if node.op_type == "Concat")
    concat.input.append(concat.input[0])
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 3
    put_graph(folder, model)
    refused(folder, GraphMismatchError, "logits has shape .* expected")


def test_bundle_for_a_newer_onnxruntime(folder: Path) -> None:
    edit(folder, lambda v: v["requires"].update(onnxruntime="999.1"))
    refused(folder, UnsupportedVersionError, "expected 999.1 or newer")


# The ONNX file


@pytest.mark.parametrize(
    "location",
    [
        "/etc/passwd",
        "../secret",
        "./data.bin",
        "sub/../data.bin",
        "unlisted.bin",
        "data.bin\0",
        "guard.json",
        "*/_ORT_MEM_ADDR_/*",
        "",
    ],
)
def test_external_data_elsewhere(folder: Path, location: str) -> None:
    put(folder, "data.bin", bytes(16))
    (folder / "unlisted.bin").write_bytes(bytes(16))
    model = graph(folder)
    model.graph.initializer.append(external(location=location))
    put_graph(folder, model)
    refused(folder, UnsafePathError, "a reference to")


def test_external_data_through_a_symlink(folder: Path, tmp_path: Path) -> None:
    put(folder, "data.bin", bytes(16))
    (folder / "data.bin").rename(tmp_path / "data.bin")
    (folder / "data.bin").symlink_to(tmp_path / "data.bin")
    model = graph(folder)
    model.graph.initializer.append(external(location="data.bin", length="16"))
    put_graph(folder, model)
    refused(folder, UnsafePathError, "data.bin is a symbolic link")


@pytest.mark.parametrize(
    ("offset", "length", "match"),
    [
        ("0", "17", "bytes 0 to 17"),
        ("8", "9", "bytes 8 to 17"),
        ("17", "0", "bytes 17 to 17"),
        ("999999999999999999", "16", "bytes 999,"),
        ("-1", "16", "offset or length '-1'"),
        ("0", "0x10", "offset or length '0x10'"),
        ("0", "9" * 30, "offset or length"),
        (" 0", "16", "offset or length"),
    ],
)
def test_external_data_beyond_the_file(folder: Path, offset: str, length: str, match: str) -> None:
    put(folder, "data.bin", bytes(16))
    model = graph(folder)
    model.graph.initializer.append(external(location="data.bin", offset=offset, length=length))
    put_graph(folder, model)
    refused(folder, UnsafePathError, match)


def test_external_data_with_a_key_twice(folder: Path) -> None:
    put(folder, "data.bin", bytes(16))
    tensor = external(location="data.bin")
    tensor.external_data.add(key="location", value="/etc/passwd")
    model = graph(folder)
    model.graph.initializer.append(tensor)
    put_graph(folder, model)
    refused(folder, UnsafePathError, "the key 'location' twice")


def hidden_in_attribute(model: onnx.ModelProto, tensor: TensorProto) -> None:
    model.graph.node.append(helper.make_node("Constant", [], ["hidden"], value=tensor))


def hidden_in_subgraph(model: onnx.ModelProto, tensor: TensorProto) -> None:
    inner = helper.make_graph([], "inner", [], [], [tensor])
    model.graph.node.append(helper.make_node("If", ["x"], ["y"], then_branch=inner))


def hidden_in_function(model: onnx.ModelProto, tensor: TensorProto) -> None:
    node = helper.make_node("Constant", [], ["hidden"], value=tensor)
    model.functions.append(helper.make_function("own", "F", [], ["hidden"], [node], []))


def hidden_in_sparse(model: onnx.ModelProto, tensor: TensorProto) -> None:
    model.graph.sparse_initializer.append(onnx.SparseTensorProto(values=tensor, dims=[4]))


def hidden_in_training(model: onnx.ModelProto, tensor: TensorProto) -> None:
    inner = helper.make_graph([], "inner", [], [], [tensor])
    model.training_info.append(onnx.TrainingInfoProto(initialization=inner))


@pytest.mark.parametrize(
    "hide",
    [
        hidden_in_attribute,
        hidden_in_subgraph,
        hidden_in_function,
        hidden_in_sparse,
        hidden_in_training,
    ],
)
def test_external_data_in_odd_places(
    folder: Path, hide: Callable[[onnx.ModelProto, TensorProto], None]
) -> None:
    model = graph(folder)
    hide(model, external(location="/etc/passwd"))
    put_graph(folder, model)
    error = UnsafePathError if hide is hidden_in_attribute else UnsafeGraphError
    refused(folder, error, "a reference to '/etc/passwd'|'If'|a local function|a sparse|a training")


def test_external_data_in_its_place_is_read(folder: Path) -> None:
    model = graph(folder)
    table = next(tensor for tensor in model.graph.initializer if tensor.name == "table")
    put(folder, "model.onnx.data", bytes(32) + table.raw_data)
    size = str(len(table.raw_data))
    table.ClearField("raw_data")
    table.data_location = TensorProto.EXTERNAL
    for key, value in {"location": "model.onnx.data", "offset": "32", "length": size}.items():
        table.external_data.add(key=key, value=value)
    put_graph(folder, model)
    with HarmGuard(folder, threads=1) as guard:
        assert guard.score("danger") > 0.8 > 0.2 > guard.score("bread")


def test_external_data_without_a_length(folder: Path) -> None:
    put(folder, "data.bin", bytes(15))
    model = graph(folder)
    model.graph.initializer.append(external(location="data.bin"))
    put_graph(folder, model)
    refused(folder, UnsafePathError, "offset or length 'none'")


def test_nested_subgraphs(folder: Path) -> None:
    model = graph(folder)
    inner = helper.make_graph([], "g", [], [], [external(location="data.bin")])
    for _ in range(20):
        node = helper.make_node("If", ["x"], ["y"], then_branch=inner)
        inner = helper.make_graph([node], "g", [], [])
    model.graph.node.append(helper.make_node("If", ["x"], ["y"], then_branch=inner))
    put_graph(folder, model)
    refused(folder, UnsafeGraphError, "a graph within a graph within a graph")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x08",
        b"\x3a\xff\xff\xff\xff\x7f",
        b"\xff" * 20,
        b"PK\x03\x04",
        b"\0" * 4 + b"ORTM" + b"\0" * 8,
        b"\x3a\x00\x3a\x00",
        b"<html>not found</html>",
        b"\x0d\x00",
    ],
)
def test_model_that_is_no_onnx_file(folder: Path, data: bytes) -> None:
    put(folder, "model.onnx", data)
    refused(folder, BundleFileError, "model.onnx: .* expected an ONNX protobuf")


def test_model_cut_short_with_a_matching_manifest(folder: Path) -> None:
    data = (folder / "model.onnx").read_bytes()
    for size in range(1, len(data), 7):
        put(folder, "model.onnx", data[:size])
        refused(folder, BundleFileError, "model.onnx")
