"""The parts of the 435M benchmarks that need no 435M model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import DebertaV2Config, DebertaV2ForSequenceClassification

from benchmarks.checkpoints import _unigram_tokenizer, small_deberta
from benchmarks.checkpoints._outliers import CHANNELS, scale_layer_norms
from harmguard.checkpoint import load_student
from harmguard.rows import read_rows
from tests.training import tiny

FIELDS: dict[str, Any] = {
    "vocab_size": 60, "hidden_size": 384, "num_hidden_layers": 2, "num_attention_heads": 6,
    "intermediate_size": 64, "max_position_embeddings": 64, "type_vocab_size": 0,
    "relative_attention": True, "position_buckets": 8, "pos_att_type": ["p2c", "c2p"],
    "share_att_key": True, "norm_rel_ebd": "layer_norm", "position_biased_input": False,
    "id2label": {0: "safe", 1: "harmful"},
}  # fmt: skip


def checkpoint(folder: Path, **more: Any) -> Path:
    torch.manual_seed(2)
    fast = tiny.tokenizer()
    fields = {**FIELDS, "vocab_size": len(fast), **more}
    DebertaV2ForSequenceClassification(DebertaV2Config(**fields)).save_pretrained(folder)
    fast.save_pretrained(str(folder))
    return folder


def rows(path: Path) -> Path:
    lines = [
        {"id": str(i), "prompt": " ".join((tiny.SAFE, tiny.HARM)[i % 2]), "label": i % 2}
        for i in range(8)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_injected_channels_are_the_largest_and_the_others_keep_their_size(tmp_path: Path) -> None:
    plain = checkpoint(tmp_path / "plain")
    data = rows(tmp_path / "train.jsonl")
    found = small_deberta.inject(plain, tmp_path / "out", data)
    before, after = found["before"]["0.output"], found["after"]["0.output"]
    assert before["largest_channel"] < 10
    assert after["largest_channel"] > 30 * after["median_channel"]
    assert 0.3 < after["median_channel"] / before["median_channel"] < 3
    model = DebertaV2ForSequenceClassification.from_pretrained(tmp_path / "out" / "student").eval()
    known = load_student(plain, 64)
    windows = [e.windows[0] for e in known.encode([row.pair for row in read_rows(data)])]
    seen = small_deberta.activations(model, known.collate(windows))["0.output"]
    assert set(np.argsort(seen["channel_max"])[-len(CHANNELS) :]) == set(found["channels"])


def test_mending_brings_the_function_back_and_keeps_the_outliers(tmp_path: Path) -> None:
    plain, out = checkpoint(tmp_path / "plain"), tmp_path / "out"
    data = rows(tmp_path / "train.jsonl")
    small_deberta.inject(plain, out, data)
    small_deberta.mend(plain, out, data, 40)
    known = load_student(plain, 64)
    given = known.collate([e.windows[0] for e in known.encode([r.pair for r in read_rows(data)])])

    def last_output(folder: Path) -> Any:
        model: Any = DebertaV2ForSequenceClassification.from_pretrained(folder).eval()
        found = small_deberta.activations(model, given)
        largest = max(small_deberta.largest(found)[n]["largest_channel"] for n in list(found)[:-1])
        with torch.inference_mode():
            hidden = model.deberta(**given).last_hidden_state
        return hidden[given["attention_mask"].bool()], largest

    before, small = last_output(plain)
    broken, _ = last_output(out / "student")
    mended, large_ = last_output(out / "mended")
    assert (mended - before).square().mean() < 0.7 * (broken - before).square().mean()
    assert large_ > 10 * small


def test_readers_do_not_see_the_scaled_channels() -> None:
    torch.manual_seed(2)
    model: Any = DebertaV2ForSequenceClassification(DebertaV2Config(**FIELDS)).eval()
    layer, inner = model.deberta.encoder.layer[0], torch.randn(1, 5, 384)
    x = layer.attention.output.LayerNorm(inner)
    before = layer.intermediate.dense(x)
    scale_layer_norms(model, CHANNELS)
    scaled = layer.attention.output.LayerNorm(inner)
    torch.testing.assert_close(layer.intermediate.dense(scaled), before, rtol=1e-4, atol=1e-4)
    assert float((scaled - x).detach().abs().max()) > 10


def test_made_up_pieces_fill_the_vocabulary_after_the_trained_ones() -> None:
    pieces = _unigram_tokenizer._filled([("\u2581bread", -3.0), ("s", -4.0)])
    assert len(pieces) == len({piece for piece, _ in pieces}) == _unigram_tokenizer.PIECES
    assert pieces[:5] == [(name, 0.0) for name in _unigram_tokenizer.SPECIALS]
    assert min(score for _, score in pieces[:7]) == -4.0
    assert max(score for _, score in pieces[7:]) < -4.0
