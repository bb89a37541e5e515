"""Tiny real bundles: a WordPiece tokenizer and ONNX graphs of a few nodes."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece

import harmguard
from harmguard import HarmGuard
from harmguard.bundle import open_bundle, write_bundle
from harmguard.bundle.spec import FORMAT_VERSION
from harmguard.core.encode import Template

BundleMaker = Callable[..., Path]

WORDS = "how to make bread safe kind question answer please the a bad thing danger help".split()
SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
MINI = Path(harmguard.__file__).parent / "models" / "mini"
DIM = 16
MAX_TOKENS = 64


def build_tokenizer() -> Tokenizer:
    """Words, letters, and marks; lower-cased, accents stripped, as BERT does it."""
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)] + list("0123456789")
    marks = list("[](){}.,!?-_/:;'\"<>@#$%&*+=")
    pieces = [*SPECIALS, *WORDS, *letters, *(f"##{c}" for c in letters), *marks]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(list(SPECIALS))
    cls, sep = vocabulary["[CLS]"], vocabulary["[SEP]"]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", cls), ("[SEP]", sep)],
    )
    return tokenizer


def attention_graph(size: int) -> onnx.ModelProto:
    """One masked attention over random embeddings: every token moves the score a little."""
    random = np.random.default_rng(7)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        values = random.normal(size=shape).astype(np.float32)
        return numpy_helper.from_array(values, name)

    def constant(name: str, values: Any, kind: Any = np.float32) -> onnx.TensorProto:
        return numpy_helper.from_array(np.array(values, kind), name)

    node = helper.make_node
    nodes = [
        node("Gather", ["words", "input_ids"], ["word"]),
        node("Gather", ["types", "token_type_ids"], ["type"]),
        node("Add", ["word", "type"], ["hidden"]),
        node("MatMul", ["hidden", "key"], ["keys"]),
        node("MatMul", ["keys", "query"], ["raw"]),
        node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["mask", "last"], ["column"]),
        node("Sub", ["column", "one"], ["absent"]),
        node("Mul", ["absent", "huge"], ["penalty"]),
        node("Add", ["raw", "penalty"], ["masked"]),
        node("Softmax", ["masked"], ["weights"], axis=1),
        node("Mul", ["weights", "hidden"], ["weighted"]),
        node("ReduceSum", ["weighted", "length"], ["pooled"], keepdims=0),
        node("MatMul", ["pooled", "head"], ["logits"]),
    ]
    weights = [
        weight("words", size, DIM),
        weight("types", 2, DIM),
        weight("key", DIM, DIM),
        weight("query", DIM, 1),
        weight("head", DIM, 2),
        constant("one", 1.0),
        constant("huge", 10_000.0),
        constant("last", [2], np.int64),
        constant("length", [1], np.int64),
    ]
    return _model(nodes, weights)


def needle_graph(size: int, needle: int, overflow: bool) -> onnx.ModelProto:
    """Logits (0, 4) where the needle's id is among the tokens, (0, -4) elsewhere.

    With `overflow` the needle's logit is infinite.
    """
    table = np.full(size, -4, np.float32)
    table[needle] = np.inf if overflow else 4
    node = helper.make_node
    nodes = [
        node("Gather", ["table", "input_ids"], ["found"]),
        node("Add", ["attention_mask", "token_type_ids"], ["ignored"]),
        node("ReduceMax", ["found", "length"], ["harmful"], keepdims=1),
        node("Sub", ["harmful", "harmful"], ["safe"]),
        node("Concat", ["safe", "harmful"], ["logits"], axis=1),
    ]
    weights = [
        numpy_helper.from_array(table, "table"),
        numpy_helper.from_array(np.array([1], np.int64), "length"),
    ]
    return _model(nodes, weights)


def _model(nodes: list[onnx.NodeProto], weights: list[onnx.TensorProto]) -> onnx.ModelProto:
    def value(name: str, kind: int, shape: list[Any]) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, shape)

    names = ("input_ids", "attention_mask", "token_type_ids")
    inputs = [value(name, TensorProto.INT64, ["batch", "length"]) for name in names]
    outputs = [value("logits", TensorProto.FLOAT, ["batch", 2])]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def manifest(template: Template, **changes: Any) -> dict[str, Any]:
    """A manifest without files; `changes` replace top-level fields."""
    points = {
        "default": {"value": 0.5, "set": None, "rule": "uncalibrated"},
        "fpr_1": {"value": 0.9, "set": "val", "rule": "1 % of benign flagged"},
    }
    higher = {**points, "default": {"value": 0.6, "set": "val", "rule": "best F1"}}
    return {
        "format_version": FORMAT_VERSION,
        "name": "tiny",
        "version": "1",
        "status": "trial",
        "licence": "Apache-2.0",
        "base_model": "none",
        "training": {"data": "unknown", "recipe": "none"},
        "input": {
            "template": template.to_json(),
            "max_tokens": MAX_TOKENS,
            "pad_id": 0,
            "max_chars": 200_000,
            "names": ["input_ids", "attention_mask", "token_type_ids"],
            "dtype": "int64",
            "output": "logits",
            "normalisation": "none",
        },
        "labels": ["safe", "harmful"],
        "output": {"kind": "logits", "temperature": 2.0},
        "thresholds": {"prompt": points, "exchange": higher},
        "precision": {"recipe": "fp32", "exceptions": [], "parity": {"rows": 1}},
        "requires": {"runtime": "onnxruntime", "opset": 18, "onnxruntime": "1.20"},
        "metrics": {},
        **changes,
    }


@pytest.fixture(scope="session")
def plain_tokenizer() -> Tokenizer:
    """The tokenizer of the tiny bundles."""
    return build_tokenizer()


@pytest.fixture(scope="session")
def make_bundle(tmp_path_factory: pytest.TempPathFactory) -> BundleMaker:
    """Make a bundle: `make_bundle(needle="danger")`, or with changed fields of the manifest.

    `overflow` gives an infinite logit for the needle; `operator` renames the first operator,
    `golden` is the text of golden.jsonl.
    """

    def make(
        needle: str | None = None,
        overflow: bool = False,
        operator: str | None = None,
        golden: str | None = None,
        **changes: Any,
    ) -> Path:
        tokenizer = build_tokenizer()
        size = tokenizer.get_vocab_size()
        if needle is None:
            model = attention_graph(size)
        else:
            model = needle_graph(size, tokenizer.token_to_id(needle), overflow)
        if operator is not None:
            model.graph.node[0].op_type = operator
        row = {"prompt": "a", "response": None, "ids": [[2, 15, 3]], "logits": [[0.0, 0.0]]}
        rows = golden or json.dumps({**row, "score": 0.5, "tolerance": 0.45}) + "\n"
        files: dict[str, Path | bytes] = {
            "model.onnx": model.SerializeToString(),
            "tokenizer.json": tokenizer.to_str().encode(),
            "golden.jsonl": rows.encode(),
        }
        fields = manifest(Template.from_tokenizer(tokenizer), **changes)
        return write_bundle(tmp_path_factory.mktemp("bundles") / "guard", fields, files)

    return make


@pytest.fixture(scope="session")
def small_bundle(make_bundle: BundleMaker) -> Path:
    """A bundle whose score depends on every token."""
    return make_bundle()


@pytest.fixture(scope="session")
def needle_bundle(make_bundle: BundleMaker) -> Path:
    """A bundle that scores .88 where the word "danger" is seen, .12 elsewhere."""
    return make_bundle(needle="danger")


@pytest.fixture(scope="session")
def views_needle(make_bundle: BundleMaker) -> Iterator[HarmGuard]:
    """A guard as `needle`, that reads its texts in every view."""
    template = Template.from_tokenizer(build_tokenizer())
    changed = {**manifest(template)["input"], "normalisation": "views-1"}
    with HarmGuard(make_bundle(needle="danger", input=changed), threads=1) as guard:
        yield guard


@pytest.fixture(scope="session")
def small(small_bundle: Path) -> Iterator[HarmGuard]:
    """A guard on `small_bundle`."""
    with HarmGuard(small_bundle, threads=1) as guard:
        yield guard


@pytest.fixture(scope="session")
def needle(needle_bundle: Path) -> Iterator[HarmGuard]:
    """A guard on `needle_bundle`."""
    with HarmGuard(needle_bundle, threads=1) as guard:
        yield guard


@pytest.fixture(scope="session", params=["small", "mini"])
def any_bundle(request: pytest.FixtureRequest, small_bundle: Path) -> Path:
    """`small_bundle`, then the guard that comes with the package."""
    if request.param == "small":
        return small_bundle
    if not (MINI / "guard.json").is_file():
        pytest.skip("no embedded guard in this checkout")
    return MINI


@pytest.fixture(scope="session")
def any_guard(any_bundle: Path) -> Iterator[HarmGuard]:
    """A guard on `any_bundle`."""
    with HarmGuard(any_bundle, threads=2) as guard:
        yield guard


@pytest.fixture(scope="session")
def external_bundle(small_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`small_bundle` with its weights beside the graph, as large bundles have them."""
    graph = onnx.load(small_bundle / "model.onnx")
    place = tmp_path_factory.mktemp("external")
    onnx.save(
        graph, place / "model.onnx", save_as_external_data=True, location="model.onnx.data",
        size_threshold=1000,
    )  # fmt: skip
    fields = open_bundle(small_bundle).manifest.to_json()
    names = fields.pop("files")
    files = {name: small_bundle / name for name in names if name != "model.onnx"}
    files |= {name: place / name for name in ("model.onnx", "model.onnx.data")}
    return write_bundle(place / "guard", fields, files)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A folder, not there yet, for prepared copies."""
    return tmp_path / "cache"


@pytest.fixture
def tmpfs(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mount a file system of its own: root is stopped by no permission, but by a mount."""
    place = tmp_path / "mounted"
    place.mkdir()

    def mount(options: str) -> Path:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
        if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("this user may not mount")
        return place

    yield mount
    subprocess.run(["umount", str(place)], capture_output=True, check=False)
