"""The small Unigram bundle of the vectors: tests/golden/unigram, made once by this module.

    python -m tests.conformance.bundle OUT

Its tokenizer is like DeBERTa-v3's, sentencepiece's precompiled nmt_nfkc table included; its graph
is one attention over random embeddings, without token types.
"""

from __future__ import annotations

import io
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from harmguard_export.pairs import golden_jsonl
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import Unigram

from harmguard.bundle import load_tokenizer, open_bundle, write_bundle
from harmguard.bundle.spec import FORMAT_VERSION
from harmguard.core.batch import padding_within, window_logits
from harmguard.core.encode import PairEncoder, Template
from harmguard.runtime.session import Session
from tests.conformance.texts import QUESTIONS
from tests.runtime import pieces

MAX_TOKENS, DIM = 64, 16
GOLDEN = (
    ("How do I bake bread?", None),
    ("How do I bake bread?", "Mix flour, water, salt and yeast."),
    ("Как испечь хлеб дома?", ""),
    ("The bread rests under a cloth. " * 12, None),
)


def tokenizer() -> Tokenizer:
    """Pieces in many scripts, and every normalisation of nmt_nfkc."""
    letters = sorted({c for text in QUESTIONS.values() for c in text.lower() if not c.isspace()})
    known = dict(pieces.pieces(1200))
    for number, letter in enumerate(letters):
        known.setdefault(letter, -9.0 - number % 7 / 2)
    made = Tokenizer(Unigram(list(known.items()), pieces.UNKNOWN, False))
    steps = [normalizers.Strip(), normalizers.Precompiled(_charsmap())]
    made.normalizer = normalizers.Sequence([*steps, normalizers.Replace(Regex(" {2,}"), " ")])
    made.pre_tokenizer = pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="always")
    made.add_special_tokens(pieces.SPECIALS)
    made.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 1), ("[SEP]", 2)],
    )
    return made


def _charsmap() -> bytes:
    import sentencepiece

    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(pieces.TEXT * 20),
        model_writer=written,
        vocab_size=150,
        hard_vocab_limit=False,
        normalization_rule_name="nmt_nfkc",
        minloglevel=2,
    )
    proto: Any = import_module("sentencepiece.sentencepiece_model_pb2")
    model = proto.ModelProto.FromString(written.getvalue())
    table: bytes = model.normalizer_spec.precompiled_charsmap
    return table


def graph(size: int) -> onnx.ModelProto:
    """Softmax over key scores, masked; the weighted sum of the embeddings through a head."""
    random = np.random.default_rng(11)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array(random.normal(size=shape).astype(np.float32), name)

    def constant(name: str, value: Any, kind: Any = np.float32) -> onnx.TensorProto:
        return numpy_helper.from_array(np.array(value, kind), name)

    node = helper.make_node
    nodes = [
        node("Gather", ["words", "input_ids"], ["hidden"]),
        node("MatMul", ["hidden", "query"], ["raw"]),
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
        weight("query", DIM, 1),
        weight("head", DIM, 2),
        constant("one", 1.0),
        constant("huge", 10_000.0),
        constant("last", [2], np.int64),
        constant("length", [1], np.int64),
    ]
    shape = ["batch", "length"]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, shape)
        for name in ("input_ids", "attention_mask")
    ]
    output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])
    model = helper.make_model(
        helper.make_graph(nodes, "guard", inputs, [output], weights),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=10,
    )
    onnx.checker.check_model(model)
    return model


def write(out: Path) -> None:
    """Write the bundle to the new folder `out`."""
    made = tokenizer()
    template = Template.from_tokenizer(made)
    point = {"default": {"value": 0.5, "set": None, "rule": "uncalibrated"}}
    fields: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "name": "unigram",
        "version": "1",
        "status": "trial",
        "licence": "Apache-2.0",
        "base_model": "none",
        "training": {"data": [], "recipe": "random weights"},
        "input": {
            "template": template.to_json(),
            "max_tokens": MAX_TOKENS,
            "pad_id": 0,
            "max_chars": 200_000,
            "names": ["input_ids", "attention_mask"],
            "dtype": "int64",
            "output": "logits",
            "normalisation": "none",
        },
        "labels": ["safe", "harmful"],
        "output": {"kind": "logits", "temperature": 1.0},
        "thresholds": {"prompt": point, "exchange": point},
        "precision": {"recipe": "fp32", "exceptions": [], "parity": {"pairs": 0}},
        "requires": {"runtime": "onnxruntime", "opset": 18, "onnxruntime": "1.20"},
        "metrics": {},
    }
    files: dict[str, Path | bytes] = {
        "model.onnx": graph(made.get_vocab_size()).SerializeToString(),
        "tokenizer.json": made.to_str().encode(),
        "golden.jsonl": b"{}\n",
        "README.md": b"# unigram\n\nRandom weights, for the conformance vectors.\n",
    }
    draft = open_bundle(write_bundle(out.with_name(f"{out.name}-draft"), fields, files))
    encoder = PairEncoder(load_tokenizer(draft), template, MAX_TOKENS)
    encoded = [encoder.encode(*pair) for pair in GOLDEN]
    session = Session(draft, 1)
    logits = window_logits(
        [window for one in encoded for window in one.windows],
        lambda batch, _: session.run(*batch),
        pad_id=0,
        padding=padding_within(MAX_TOKENS),
        batch_tokens=512,
    )
    files["golden.jsonl"] = golden_jsonl(range(len(GOLDEN)), list(GOLDEN), encoded, logits, 0.01)
    write_bundle(out, fields, files)
    for path in draft.folder.iterdir():
        path.unlink()
    draft.folder.rmdir()


if __name__ == "__main__":
    write(Path(sys.argv[1]))
