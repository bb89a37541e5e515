from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from harmguard_export.deberta_config import DebertaConfig, read_config
from harmguard_export.graphs.deberta_positions import Positions, quantize_heads
from harmguard_export.graphs.writer import Graph
from harmguard_export.quantization.quantize import PAIR_LIMIT, Floats
from hypothesis import given
from hypothesis import strategies as st
from transformers import DebertaV2Config

from tests.export.test_deberta import V3

HEADS, HEAD, LENGTH = 3, 8, 21
PARTS = {"c2p": "key_proj", "p2c": "query_proj"}


def setting() -> tuple[DebertaConfig, dict[str, Floats], Floats]:
    """A config, the weights that its positions are made of, and queries or keys."""
    random, width = np.random.default_rng(5), HEADS * HEAD
    config = read_config(
        DebertaV2Config(
            vocab_size=9, hidden_size=width, num_hidden_layers=1, num_attention_heads=HEADS, **V3
        )
    )
    names: dict[str, tuple[int, ...]] = {}
    names["deberta.encoder.rel_embeddings.weight"] = (2 * config.span, width)
    path = "deberta.encoder.layer.0.attention.self."
    for part in PARTS.values():
        names |= {f"{path}{part}.weight": (width, width), f"{path}{part}.bias": (width,)}
    names |= {f"deberta.encoder.LayerNorm.{n}": (width,) for n in ("weight", "bias")}
    weights = {n: random.normal(size=shape).astype(np.float32) for n, shape in names.items()}
    asking = random.normal(size=(HEADS, 1, LENGTH, HEAD)).astype(np.float32)
    asking[:, :, 4] *= 50  # one token's range must not be another's
    asking[1, :, 6] = 0
    return config, weights, asking


def term(folder: Path, name: str, int8: bool) -> Floats:
    """The term [heads, L, L] as a graph computes it."""
    config, weights, asking = setting()
    with Graph(("input_ids", "attention_mask"), folder) as graph:
        node, constant = graph.node, graph.constant
        positions = Positions(graph, config, weights, int8)
        rows, scale = positions.rows(0)[name]
        rows = node("Unsqueeze", [rows, constant([1])])
        if scale is not None:
            scale = node("Unsqueeze", [scale, constant([1])])
        given = graph.weight("asking", asking)
        found = positions.term(name, given, given, rows, scale)
        graph.save(node("Reshape", [found, constant([1, -1])]), HEADS * LENGTH**2)
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    ids = np.ones((1, LENGTH), np.int64)
    output = session.run(["logits"], {"input_ids": ids, "attention_mask": ids})[0]
    return np.asarray(output).reshape(HEADS, LENGTH, LENGTH)


@pytest.mark.parametrize("name", ["c2p", "p2c"])
def test_integers_give_what_float32_gives(tmp_path: Path, name: str) -> None:
    for kind in ("fp32", "int8"):
        (tmp_path / kind).mkdir()
    exact = term(tmp_path / "fp32", name, False)
    found = term(tmp_path / "int8", name, True)
    # Rows of the one who asks: queries, or keys.
    axis = 2 if name == "c2p" else 1
    size = np.sqrt((exact**2).mean(axis, keepdims=True))
    assert np.all(found[size.repeat(LENGTH, axis) == 0] == 0)
    error = np.abs(found - exact) / np.maximum(size, 1e-6)
    assert 1e-4 < np.sqrt((error**2).mean()) < 0.02


@given(st.integers(0, 2**32 - 1), st.integers(1, 33), st.floats(0.02, 50))
def test_no_two_neighbours_can_saturate_sixteen_bits(seed: int, width: int, top: float) -> None:
    random = np.random.default_rng(seed)
    table = random.normal(size=(2, 7, width)).astype(np.float32) * np.float32(top)
    small, scale = quantize_heads(table)
    assert scale.shape == (2, 1, 1)
    assert np.abs(small * scale - table).max() <= 0.51 * scale.max()
    even = width // 2 * 2
    levels = small.astype(int)
    for sign in (1, -1):
        left, right = (np.maximum(sign * levels[..., i:even:2], 0) for i in (0, 1))
        assert np.all(left + right <= PAIR_LIMIT)
