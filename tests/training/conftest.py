"""A bundle whose logits are known: each word adds its own number to the harmful logit."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, pre_tokenizers, processors
from tokenizers.models import WordLevel

from harmguard.bundle import write_bundle
from harmguard.bundle.spec import FORMAT_VERSION
from harmguard.core.encode import PairEncoder, Template

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
MARGINS = {f"word{i:02}": round(-6 + 0.15 * i, 2) for i in range(81)}
"""Logit difference of each word; word40 adds nothing."""
TEMPERATURE = 2.0
MAX_TOKENS = 16
CARD = "# words\n\nA card.\n\n## Calibration\n\nAn old section.\n\n## Limits\n\nMany.\n"


def _tokenizer() -> Tokenizer:
    names = [*SPECIALS, *MARGINS]
    tokenizer = Tokenizer(WordLevel({n: i for i, n in enumerate(names)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(list(SPECIALS))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return tokenizer


def _graph() -> bytes:
    onnx = pytest.importorskip("onnx")
    node, value = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    table = np.array([0.0] * len(SPECIALS) + list(MARGINS.values()), np.float32)
    nodes = [
        node("Gather", ["table", "input_ids"], ["each"]),
        node("Cast", ["attention_mask"], ["mask"], to=onnx.TensorProto.FLOAT),
        node("Mul", ["each", "mask"], ["kept"]),
        node("ReduceSum", ["kept", "axis"], ["harmful"], keepdims=1),
        node("Sub", ["harmful", "harmful"], ["safe"]),
        node("Concat", ["safe", "harmful"], ["logits"], axis=1),
    ]
    weights = [
        onnx.numpy_helper.from_array(table, "table"),
        onnx.numpy_helper.from_array(np.array([1], np.int64), "axis"),
    ]
    integers = onnx.TensorProto.INT64
    names = ("input_ids", "attention_mask")
    graph = onnx.helper.make_graph(
        nodes,
        "words",
        [value(name, integers, ["batch", "length"]) for name in names],
        [value("logits", onnx.TensorProto.FLOAT, ["batch", 2])],
        weights,
    )
    opset = onnx.helper.make_opsetid("", 18)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=9)
    return bytes(model.SerializeToString())


def _golden(encoder: PairEncoder, pairs: Sequence[tuple[str, str | None]]) -> bytes:
    lines = []
    for prompt, response in pairs:
        windows = [window.ids.tolist() for window in encoder.encode(prompt, response).windows]
        margins = list(MARGINS.values())
        logits = [
            [0.0, float(sum(margins[i - len(SPECIALS)] for i in ids if i >= len(SPECIALS)))]
            for ids in windows
        ]
        score = max(1 / (1 + np.exp(-z / TEMPERATURE)) for _, z in logits)
        row = {"prompt": prompt, "response": response, "ids": windows, "logits": logits}
        lines.append(json.dumps({**row, "score": float(score), "tolerance": 0.01}) + "\n")
    return "".join(lines).encode()


@pytest.fixture(scope="session")
def word_margins() -> dict[str, float]:
    """The words of ``word_bundle`` and what each adds to the harmful logit."""
    return MARGINS


@pytest.fixture(scope="session")
def word_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle at temperature 2 that sums its words, in windows of 16 tokens."""
    tokenizer = _tokenizer()
    template = Template.from_tokenizer(tokenizer)
    encoder = PairEncoder(tokenizer, template, MAX_TOKENS)
    golden: list[tuple[str, str | None]] = [(f"word{i}", None) for i in range(36, 45)]
    golden += [("word41", "word38"), ("word40 " * 30 + "word50", None)]
    point: dict[str, Any] = {"value": 0.5, "set": None, "rule": "uncalibrated"}
    manifest = {
        "format_version": FORMAT_VERSION,
        "name": "words",
        "version": "1",
        "status": "trial",
        "licence": "Apache-2.0",
        "base_model": "none",
        "training": {"data": "unknown", "recipe": "none"},
        "input": {
            "template": template.to_json(),
            "max_tokens": MAX_TOKENS,
            "pad_id": 0,
            "max_chars": 10_000,
            "names": ["input_ids", "attention_mask"],
            "dtype": "int64",
            "output": "logits",
            "normalisation": "none",
        },
        "labels": ["safe", "harmful"],
        "output": {"kind": "logits", "temperature": TEMPERATURE},
        "thresholds": {
            "prompt": {"default": point},
            "exchange": {"default": {"value": 0.7, "set": "an old set", "rule": "an old rule"}},
        },
        "precision": {"recipe": "fp32", "exceptions": [], "parity": {"rows": 1}},
        "requires": {"runtime": "onnxruntime", "opset": 18, "onnxruntime": "1.20"},
        "metrics": {"old": 1},
    }
    files: dict[str, Path | bytes] = {
        "model.onnx": _graph(),
        "tokenizer.json": tokenizer.to_str().encode(),
        "golden.jsonl": _golden(encoder, golden),
        "README.md": CARD.encode(),
    }
    return write_bundle(tmp_path_factory.mktemp("words") / "guard", manifest, files)


@pytest.fixture
def write_rows(tmp_path: Path) -> Callable[..., Path]:
    """Write dicts as a JSON Lines file: ``write_rows([{...}], name="set.jsonl")``."""

    def write(rows: Sequence[dict[str, Any]], name: str = "set.jsonl") -> Path:
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    return write
