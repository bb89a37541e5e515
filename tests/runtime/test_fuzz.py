"""Fuzzing of what reads a stranger's bytes: a result or a named error, and nothing else.

Each target runs a round of its first seed in every suite. With `-m slow` it goes on with further
seeds for HARMGUARD_FUZZ_SECONDS, ten minutes unless set; a failure names its seed.
"""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from hypothesis import HealthCheck, Phase, given, note, seed, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from tokenizers import Tokenizer

from harmguard import BundleError
from harmguard.bundle import open_bundle
from harmguard.bundle.graph_rules import check_graph_file
from harmguard.bundle.manifest import Manifest, seal
from harmguard.bundle.onnx_file import Graph, Tensor, read_model
from harmguard.bundle.tokenizer_rules import check_tokenizer
from harmguard.errors import BundleFileError, PrepareError, TokenizerError, UnsafeGraphError
from harmguard.prepared.place import OWN
from harmguard.prepared.prepare import RECORD, find, prepare
from tests.attacks import BASE

FIRST_SEED = 20261130
SECONDS = float(os.environ.get("HARMGUARD_FUZZ_SECONDS", "600"))
Body = Callable[..., None]


def rounds(body: Body, examples: int, seconds: float, **strategies: st.SearchStrategy[Any]) -> None:
    """Run `body` on `examples` inputs of each seed, from the first on, until the time is over."""
    end = time.monotonic() + seconds
    for number in itertools.count(FIRST_SEED):

        def one(**values: Any) -> None:
            note(f"seed {number}")  # noqa: B023
            body(**values)

        run = settings(
            max_examples=examples,
            database=None,
            deadline=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        )(given(**strategies)(one))
        seed(number)(run)()
        if time.monotonic() >= end:
            return


def in_one_line(error: Exception) -> None:
    """Whether a message may go to a terminal."""
    assert str(error).isprintable()


# Bytes that were changed


@st.composite
def changed(draw: st.DrawFn, source: bytes) -> bytes:
    """`source` with a few bytes replaced, put in, left out, or repeated."""
    data = bytearray(source)
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, len(data)))
        kind = draw(st.sampled_from("pilrb"))
        if kind == "p":
            part = draw(st.binary(min_size=1, max_size=6))
            data[place : place + len(part)] = part
        elif kind == "i":
            data[place:place] = draw(st.binary(min_size=1, max_size=12))
        elif kind == "l":
            del data[place : place + draw(st.integers(1, 40))]
        elif kind == "r":
            data[place:place] = data[place : place + draw(st.integers(1, 80))]
        elif place < len(data):
            data[place] ^= 1 << draw(st.integers(0, 7))
    return bytes(data)


# The graph, against the onnx package


@st.composite
def tensors(draw: st.DrawFn) -> TensorProto:
    """A constant, in the file or outside."""
    tensor = TensorProto(name=draw(st.sampled_from(["a", "b", "c", ""])), data_type=1, dims=[2])
    if draw(st.booleans()):
        tensor.raw_data = draw(st.binary(max_size=12))
        return tensor
    tensor.data_location = TensorProto.EXTERNAL
    for key in draw(st.lists(st.sampled_from(["location", "offset", "length"]), unique=True)):
        value = draw(st.sampled_from(["data.bin", "/etc/hostname", "8", "0", "", "../x"]))
        tensor.external_data.add(key=key, value=value)
    return tensor


@st.composite
def models(draw: st.DrawFn) -> bytes:
    """A small model with constants in every place that has them, then perhaps changed."""
    graph = helper.make_graph([], "g", [], [], draw(st.lists(tensors(), max_size=3)))
    for tensor in draw(st.lists(tensors(), max_size=2)):
        graph.node.append(helper.make_node("Constant", [], ["y"], value=tensor))
    for tensor in draw(st.lists(tensors(), max_size=2)):
        inner = helper.make_graph([], "inner", [], [], [tensor])
        graph.node.append(helper.make_node("Scan", ["x"], ["z"], body=inner, num_scan_inputs=1))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    return draw(changed(model.SerializeToString()))


References = list[list[tuple[str, str]]]


def ours(graph: Graph) -> References:
    """The references of a graph as harmguard reads them."""
    held = list(graph.tensors)
    inner: References = []
    for node in graph.nodes:
        for value in node.attributes.values():
            if isinstance(value, Tensor):
                held.append(value)
            elif isinstance(value, Graph):
                inner += ours(value)
    return [sorted(tensor.entries.items()) for tensor in held if tensor.entries] + inner


def theirs(message: Any) -> References:
    """The references of every tensor anywhere in a message, as protobuf reads them."""
    found: References = []
    if isinstance(message, TensorProto) and message.external_data:
        found.append(sorted((entry.key, entry.value) for entry in message.external_data))
    for field, value in message.ListFields():
        if field.message_type is not None:
            for item in value if field.is_repeated else [value]:
                found += theirs(item)
    return found


def same_references(data: bytes) -> None:
    try:
        read = read_model(data)
    except BundleError:
        return  # what is refused is not read by anybody
    try:
        parsed = onnx.load_from_string(data)
    except Exception:  # protobuf's error has no types
        raise AssertionError("harmguard reads what protobuf does not") from None
    assert sorted(ours(read.graph)) == sorted(theirs(parsed))


def graph_or_error(data: bytes) -> None:
    try:
        check_graph_file(data, {"data.bin": 16}, 18, 64)
    except BundleError as error:
        in_one_line(error)


# The manifest, the tokenizer, the cache

MANIFEST = (BASE / "guard.json").read_bytes()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)


def manifest_or_error(data: bytes) -> None:
    try:
        manifest = Manifest.from_bytes(seal(data))
    except BundleError as error:
        in_one_line(error)
        return
    again = Manifest.from_bytes(manifest.to_bytes())
    assert again.to_json() == manifest.to_json()


TOKENIZER = json.loads((BASE / "tokenizer.json").read_text(encoding="utf-8"))
REPLACE = st.fixed_dictionaries(
    {
        "type": st.just("Replace"),
        "pattern": st.sampled_from([{"Regex": " {2,}"}, {"Regex": "a*"}, {"String": "e"}]),
        "content": st.sampled_from(["", "x", "\u2581", "xx"]),
    }
)
NORMALIZERS = REPLACE | st.sampled_from(
    [{"type": kind} for kind in ("NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Nmt")]
    + [{"type": "Strip", "strip_left": True, "strip_right": True}]
    + [{"type": "Prepend", "prepend": "\u2581"}, TOKENIZER["normalizer"]]
)
SPLITTERS = st.sampled_from(
    [{"type": kind} for kind in ("Whitespace", "WhitespaceSplit", "UnicodeScripts")]
    + [{"type": "Punctuation", "behavior": "Isolated"}, TOKENIZER["pre_tokenizer"]]
    + [{"type": "Digits", "individual_digits": True}]
    + [{"type": "Split", "pattern": {"String": " "}, "behavior": "Removed", "invert": False}]
    + [{"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True}]
)


@st.composite
def tokenizer_files(draw: st.DrawFn) -> bytes:
    """A tokenizer of other steps, or one whose bytes were changed."""
    value = dict(TOKENIZER)
    inner = draw(st.lists(NORMALIZERS, max_size=4))
    value["normalizer"] = {"type": "Sequence", "normalizers": inner}
    inner = draw(st.lists(SPLITTERS, max_size=3))
    value["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": inner}
    if draw(st.booleans()):
        value[draw(st.sampled_from(sorted(value)))] = draw(JSON)
    data = json.dumps(value, ensure_ascii=draw(st.booleans())).encode(errors="surrogatepass")
    return draw(changed(data)) if draw(st.booleans()) else data


def tokenizer_or_error(data: bytes, text: str) -> None:
    try:
        check_tokenizer(data)
    except TokenizerError as error:
        in_one_line(error)
        return
    try:
        made = Tokenizer.from_buffer(data)
    except Exception:  # the library refuses what is no tokenizer with bare exceptions
        return
    start = time.monotonic()
    ids = [made.encode(text, add_special_tokens=False).ids for _ in range(2)]
    assert ids[0] == ids[1]
    assert time.monotonic() - start < 10


TEXTS = st.text(alphabet=st.characters(codec="utf-8"), max_size=300)


def cache_target(cache: Path) -> Body:
    """A cache with a good copy, spoilt by every example."""
    bundle = open_bundle(BASE)
    good = prepare(bundle, cache)
    files = {path.name: path.read_bytes() for path in good.folder.iterdir()}

    def copy_or_error(data: bytes, name: str, kind: str) -> None:
        target = (good.folder if name in files else cache / OWN) / name
        target.unlink(missing_ok=True)
        if kind == "bytes":
            target.write_bytes(data)
        elif kind == "pipe":
            os.mkfifo(target)
        elif kind == "link":
            target.symlink_to("/dev/zero")
        try:
            found = find(bundle, cache)
        except PrepareError as error:
            in_one_line(error)
        else:
            assert found.folder == good.folder
        target.unlink(missing_ok=True)
        for known, content in files.items():
            (good.folder / known).write_bytes(content)

    return copy_or_error


RECORDS = changed(b'{"identity": {}, "files": {"model.onnx": {"size": 1}}, "unmapped": null}')
TARGETS: dict[str, tuple[Body | None, dict[str, st.SearchStrategy[Any]]]] = {
    "references": (same_references, {"data": models()}),
    "graph": (graph_or_error, {"data": changed((BASE / "model.onnx").read_bytes()) | models()}),
    "manifest": (
        manifest_or_error,
        {"data": changed(MANIFEST) | JSON.map(lambda value: json.dumps(value).encode())},
    ),
    "tokenizer": (tokenizer_or_error, {"data": tokenizer_files(), "text": TEXTS}),
    "cache": (
        None,
        {
            "data": RECORDS | st.binary(max_size=40),
            "name": st.sampled_from([RECORD, "model.onnx", "model.onnx.data", ".lock", "other"]),
            "kind": st.sampled_from(["bytes", "pipe", "link", "nothing"]),
        },
    ),
}


@pytest.mark.parametrize("name", TARGETS)
def test_a_round(name: str, tmp_path: Path) -> None:
    body, strategies = TARGETS[name]
    rounds(body or cache_target(tmp_path / "cache"), 100, 0, **strategies)


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_ten_minutes(name: str, tmp_path: Path) -> None:
    body, strategies = TARGETS[name]
    rounds(body or cache_target(tmp_path / "cache"), 1000, SECONDS, **strategies)


def test_the_differential_target_finds_a_hidden_reference() -> None:
    """As onnxruntime 1.23 read it: a tag that is cut to 32 bits is a reference."""
    made = helper.make_graph([], "g", [], [], [TensorProto(name="a", data_type=1)])
    model = helper.make_model(made)
    model.graph.initializer[0].external_data.add(key="location", value="x")
    assert theirs(model) == [[("location", "x")]]
    assert ours(read_model(model.SerializeToString()).graph) == [[("location", "x")]]
    hidden = model.SerializeToString().replace(b"\x6a", b"\xea\x80\x80\x80\x10", 1)
    with pytest.raises((BundleFileError, UnsafeGraphError)):
        read_model(hidden)
