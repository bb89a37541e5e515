"""Bundles made to break the reader: each one named error, and never a crash or a hang."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from harmguard import (
    BundleFileError,
    BundleNotFoundError,
    GraphMismatchError,
    HarmGuard,
    HarmGuardError,
    ManifestError,
    TokenizerError,
    UnsafePathError,
    UnsupportedVersionError,
)
from harmguard.bundle.manifest import seal

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"


@pytest.fixture
def folder(needle_bundle: Path, tmp_path: Path) -> Path:
    """A copy of a bundle, to be spoilt."""
    return Path(shutil.copytree(needle_bundle, tmp_path / "guard"))


def edit(folder: Path, change: Callable[[Any], Any]) -> None:
    """Apply `change` to the parsed manifest."""
    path = folder / "guard.json"
    value = json.loads(path.read_text())
    change(value)
    path.write_bytes(seal(json.dumps(value).encode()))


def put(folder: Path, name: str, data: bytes) -> None:
    """Replace or add a file, and let the manifest agree."""
    (folder / name).write_bytes(data)
    entry = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    edit(folder, lambda value: value["files"].update({name: entry}))


def refused(folder: Path, error: type[HarmGuardError], match: str) -> None:
    """The guard raises `error`, whose message has found, expected and likely cause."""
    with pytest.raises(error, match=match) as caught:
        HarmGuard(folder, threads=1)
    assert caught.type is error
    assert "expected" in str(caught.value)
    assert "likely" in str(caught.value)


def test_the_copy_itself_is_accepted(folder: Path) -> None:
    with HarmGuard(folder, threads=1) as guard:
        assert guard.score("danger") > 0.8


# Folder and files


def test_no_folder(tmp_path: Path) -> None:
    refused(tmp_path / "none", BundleNotFoundError, "no folder")


def test_folder_without_manifest(tmp_path: Path) -> None:
    refused(tmp_path, BundleNotFoundError, "holds no guard.json")


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "golden.jsonl"])
def test_missing_file(folder: Path, name: str) -> None:
    (folder / name).unlink()
    refused(folder, BundleFileError, f"{name} is missing")


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "golden.jsonl"])
def test_truncated_file(folder: Path, name: str) -> None:
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[:-1])
    refused(folder, BundleFileError, f"{name} has .* likely a truncated download")


def test_wrong_hash(folder: Path) -> None:
    data = bytearray((folder / "model.onnx").read_bytes())
    data[-1] ^= 1
    (folder / "model.onnx").write_bytes(data)
    refused(folder, BundleFileError, "model.onnx has sha256 .* likely a damaged download")


def test_git_lfs_pointer_in_place_of_the_model(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(LFS)
    refused(folder, BundleFileError, "git-lfs pointer")


def test_git_lfs_pointer_in_place_of_the_manifest(folder: Path) -> None:
    (folder / "guard.json").write_bytes(LFS)
    refused(folder, ManifestError, "git-lfs pointer")


@pytest.mark.parametrize("name", ["model.onnx", "guard.json"])
def test_symlink_out_of_the_folder(folder: Path, tmp_path: Path, name: str) -> None:
    (folder / name).rename(tmp_path / name)
    (folder / name).symlink_to(tmp_path / name)
    refused(folder, UnsafePathError, f"{name} is a symbolic link")


def test_dangling_symlink(folder: Path) -> None:
    (folder / "model.onnx").unlink()
    (folder / "model.onnx").symlink_to("/nonexistent")
    refused(folder, UnsafePathError, "symbolic link")


def test_fifo_does_not_hang(folder: Path) -> None:
    (folder / "golden.jsonl").unlink()
    os.mkfifo(folder / "golden.jsonl")
    refused(folder, UnsafePathError, "golden.jsonl is not a regular file")


def test_folder_in_place_of_a_file(folder: Path) -> None:
    (folder / "golden.jsonl").unlink()
    (folder / "golden.jsonl").mkdir()
    refused(folder, UnsafePathError, "golden.jsonl is not a regular file")


NAMES = [
    "../model.onnx",
    "/etc/passwd",
    "sub/model.onnx",
    "sub\\model.onnx",
    "C:model.onnx",
    "..",
    ".hidden",
    "",
    "a\0b",
    "caf\u00e9",
    "x" * 129,
]


@pytest.mark.parametrize("name", NAMES)
def test_path_outside_the_folder(folder: Path, name: str) -> None:
    edit(folder, lambda v: v["files"].update({name: {"size": 1, "sha256": "0" * 64}}))
    refused(folder, UnsafePathError, "expected one plain name")


# The manifest as JSON


@pytest.mark.parametrize("version", [0, 4, 10**9])
def test_unknown_version(folder: Path, version: int) -> None:
    edit(folder, lambda v: v.update(format_version=version))
    refused(folder, UnsupportedVersionError, f"format_version is {version}; expected 1")


def test_unknown_version_comes_before_unknown_fields(folder: Path) -> None:
    edit(folder, lambda v: v.update(format_version=4, novelty=1))
    refused(folder, UnsupportedVersionError, "format_version is 4")


def test_huge_manifest(folder: Path) -> None:
    edit(folder, lambda v: v["metrics"].update(a="x" * (1 << 20)))
    refused(folder, ManifestError, "bytes; expected at most 1,048,576")


def test_nested_manifest(folder: Path) -> None:
    (folder / "guard.json").write_text("[" * 500_000 + "]" * 500_000)
    refused(folder, ManifestError, "nested too deeply")


def test_slightly_nested_manifest(folder: Path) -> None:
    deep: Any = 1
    for _ in range(20):
        deep = [deep]
    edit(folder, lambda v: v["metrics"].update(a=deep))
    refused(folder, ManifestError, "nested too deeply; expected at most 16 levels")


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ('"name":', '"name": "other", "name":', "same key twice"),
        ('"value": 0.5', '"value": NaN', "holds NaN"),
        ('"value": 0.5', '"value": Infinity', "holds Infinity"),
        ('"value": 0.5', '"value": 1e999', "range of a double"),
        ('"value": 0.5', '"value": true', "is True; expected a number from 0 to 1"),
        ('"value": 0.5', '"value": 1.5', "is 1.5; expected a number from 0 to 1"),
        ('"max_tokens": 64', '"max_tokens": 64.0', "expected an integer"),
        ('"max_tokens": 64', '"max_tokens": ' + "9" * 5000, "5,000 digits; expected at most"),
        ('"max_tokens": 64', '"max_tokens": 9', "max_tokens is 9; expected an integer from"),
        ('"temperature": 2.0', '"temperature": 0', "expected a number from 0.01"),
        ('"status": "trial"', '"status": "done"', "status is 'done'"),
        ('"licence": "Apache-2.0"', '"licence": "\\u001b[31m"', "control characters"),
        ('"licence": "Apache-2.0"', '"licence": "\\ud800"', "lone surrogates"),
        ('"licence": "Apache-2.0"', '"licence": ""', "expected a string of 1 to 2,000"),
        ('"licence": "Apache-2.0",', "", "licence is missing"),
        ('"licence"', '"license": "MIT", "licence"', "unknown field 'license'"),
        ('"labels": ["safe", "harmful"]', '"labels": ["harmful", "safe"]', "labels is"),
        ('"dtype": "int64"', '"dtype": "int32"', "input.dtype is 'int32'"),
        ('"default"', '"Default"', "thresholds.prompt.default is missing"),
        ('"text": "response"', '"text": "prompt"', "with the texts"),
        ('"model.onnx"', '"model2.onnx"', "expected entries for model.onnx"),
        ('"golden.jsonl"', '"GOLDEN.jsonl"', "expected entries for golden.jsonl"),
    ],
)
def test_wrong_field(folder: Path, old: str, new: str, match: str) -> None:
    text = json.dumps(json.loads((folder / "guard.json").read_text()))
    assert old in text
    (folder / "guard.json").write_bytes(seal(text.replace(old, new, 1).encode()))
    refused(folder, ManifestError, match)


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"null", b"[]", b"\xef\xbb\xbf{}"])
def test_not_a_json_object(folder: Path, data: bytes) -> None:
    (folder / "guard.json").write_bytes(data)
    refused(folder, ManifestError, "guard.json")


def test_names_that_differ_in_case_only(folder: Path) -> None:
    entry = {"size": 1, "sha256": "0" * 64}
    edit(folder, lambda v: v["files"].update({"MODEL.onnx": entry}))
    refused(folder, ManifestError, "differ in more than case")


def test_manifest_that_lists_itself(folder: Path) -> None:
    put(folder, "guard.json", (folder / "guard.json").read_bytes())
    refused(folder, ManifestError, "not guard.json")


# The tokenizer


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (
            "truncation",
            {"max_length": 128, "strategy": "LongestFirst", "stride": 0, "direction": "Right"},
        ),
        (
            "padding",
            {
                "strategy": {"Fixed": 128},
                "direction": "Right",
                "pad_to_multiple_of": None,
                "pad_id": 0,
                "pad_type_id": 0,
                "pad_token": "[PAD]",
            },
        ),
    ],
)
def test_tokenizer_that_cuts_or_pads(folder: Path, name: str, value: Any) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    put(folder, "tokenizer.json", json.dumps({**tokenizer, name: value}).encode())
    refused(folder, TokenizerError, f"tokenizer.json has {name} set")


def test_tokenizer_that_is_none(folder: Path) -> None:
    put(folder, "tokenizer.json", b'{"model": null}')
    refused(folder, TokenizerError, "cannot be read")


def test_template_with_ids_of_another_tokenizer(folder: Path) -> None:
    edit(folder, lambda v: v["input"]["template"]["prompt"][0].update(id=11))
    refused(folder, TokenizerError, r"expected 11 as the template says")


# The graph


def graph(folder: Path) -> onnx.ModelProto:
    return onnx.load(str(folder / "model.onnx"), load_external_data=False)


def put_graph(folder: Path, model: onnx.ModelProto) -> None:
    put(folder, "model.onnx", model.SerializeToString())


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


def external(name: str = "table", **entries: str) -> TensorProto:
    """A tensor of 4 floats that says its data lies elsewhere."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[4])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


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
    model.graph.initializer.append(external(location="data.bin"))
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
    refused(folder, UnsafePathError, "a reference to '/etc/passwd'")


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
    refused(folder, BundleFileError, "nested more than 32 deep")


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
