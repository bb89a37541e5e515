"""DeBERTa's graph against transformers, for every branch of its config."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from harmguard_export.deberta_config import ACTIVATIONS, read_config
from harmguard_export.graphs.deberta import DebertaGraph
from harmguard_export.quantization.recipe import load_recipe
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import DebertaV2Config, DebertaV2ForSequenceClassification

from harmguard.errors import UnsupportedModelError

V3 = {
    "relative_attention": True, "position_buckets": 16, "pos_att_type": ["p2c", "c2p"],
    "share_att_key": True, "norm_rel_ebd": "layer_norm", "type_vocab_size": 0,
    "position_biased_input": False, "max_position_embeddings": 160,
}  # fmt: skip
LENGTHS = (1, 2, 7, 64, 130)


def config_of(**changes: Any) -> DebertaV2Config:
    sizes = {
        "vocab_size": 60, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3,
        "intermediate_size": 40, "initializer_range": 0.3,
    }  # fmt: skip
    return DebertaV2Config(**{**sizes, **V3, **changes})


def largest_error(config: DebertaV2Config, lengths: tuple[int, ...]) -> float:
    """Largest difference of the fp32 logits, batches of 1 and 5, the latter with padding."""
    torch.manual_seed(1)
    model = DebertaV2ForSequenceClassification(config).eval()
    for parameter in model.parameters():
        if parameter.dim() == 1:
            torch.nn.init.normal_(parameter, mean=0.2, std=0.3)
    names = ("input_ids", "attention_mask", "token_type_ids")[: 2 + (config.type_vocab_size > 1)]
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    worst = 0.0
    with tempfile.TemporaryDirectory() as folder:
        graph = DebertaGraph(read_config(config), names, weights, load_recipe("fp32"), {})
        graph.write(Path(folder))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(f"{folder}/model.onnx", options)
        for length in lengths:
            for rows in (1, 5):
                random = np.random.default_rng(length)
                ids = random.integers(5, 60, (rows, length))
                mask = np.arange(length) < np.linspace(1, length, rows).round()[::-1, None]
                types = random.integers(0, max(1, config.type_vocab_size), ids.shape)
                feed = dict(zip(names, (ids, mask.astype(np.int64), types), strict=False))
                with torch.inference_mode():
                    expected = model(**{n: torch.from_numpy(v) for n, v in feed.items()}).logits
                found = session.run(["logits"], feed)[0]
                if config.num_labels == 1:
                    assert (found[:, 0] == 0).all()
                error = np.abs(found[:, -config.num_labels :] - expected.numpy()).max()
                worst = max(worst, float(error))
    return worst


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"num_labels": 1},
        {"share_att_key": False},
        {"share_att_key": False, "pos_att_type": "c2p"},
        {"pos_att_type": ["p2c"]},
        {"pos_att_type": []},
        {"pos_att_type": None},
        {"position_buckets": -1},
        {"position_buckets": -1, "max_relative_positions": 20},
        {"max_relative_positions": 64},
        {"relative_attention": False, "position_biased_input": True},
        {"position_biased_input": True, "type_vocab_size": 1, "embedding_size": 16},
        {"type_vocab_size": 3},
        {"norm_rel_ebd": "none"},
        {"conv_kernel_size": 3, "conv_act": "gelu"},
        {"conv_kernel_size": 5, "conv_groups": 2, "num_hidden_layers": 1},
        *({"hidden_act": name, "pooler_hidden_act": name} for name in ACTIVATIONS),
    ],
    ids=str,
)
def test_logits_are_torchs(changes: dict[str, Any]) -> None:
    assert largest_error(config_of(**changes), LENGTHS) < 1e-4


def test_logits_of_long_texts() -> None:
    sizes = {"hidden_size": 8, "num_attention_heads": 1, "position_buckets": 256}
    config = config_of(max_position_embeddings=1024, **sizes)
    assert largest_error(config, (300, 512, 1024)) < 1e-4


@st.composite
def configs(draw: st.DrawFn) -> DebertaV2Config:
    heads = draw(st.sampled_from([1, 2, 3]))
    longest = draw(st.sampled_from([33, 64, 130]))
    terms = st.lists(st.sampled_from(["c2p", "p2c"]), unique=True)
    return config_of(
        hidden_size=heads * draw(st.sampled_from([4, 6])),
        num_attention_heads=heads,
        num_hidden_layers=draw(st.integers(1, 3)),
        intermediate_size=draw(st.integers(1, 30)),
        num_labels=draw(st.sampled_from([1, 2])),
        max_position_embeddings=longest,
        max_relative_positions=draw(st.sampled_from([-1, 12, 512])),
        relative_attention=draw(st.booleans()),
        pos_att_type=draw(terms),
        share_att_key=draw(st.booleans()),
        position_buckets=draw(st.sampled_from([-1, 2, 7, 16])),
        norm_rel_ebd=draw(st.sampled_from(["none", "layer_norm"])),
        position_biased_input=draw(st.booleans()),
        type_vocab_size=draw(st.sampled_from([0, 1, 2])),
        embedding_size=draw(st.sampled_from([8, 12])),
        hidden_act=draw(st.sampled_from(ACTIVATIONS)),
        pooler_hidden_act=draw(st.sampled_from(ACTIVATIONS)),
        layer_norm_eps=draw(st.sampled_from([1e-7, 1e-5])),
        conv_kernel_size=draw(st.sampled_from([0, 0, 3])),
    )


@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(config=configs())
def test_logits_of_any_config(config: DebertaV2Config) -> None:
    assert largest_error(config, (1, 5, 33)) < 1e-4


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0"),
        ({"hidden_size": 25}, r"attention_head_size is 8\.3\d+"),
        ({"attention_head_size": 4}, "attention_head_size is 4"),
        ({"pooler_hidden_size": 12}, "pooler_hidden_size is 12"),
        ({"hidden_act": "mish"}, "hidden_act is 'mish'"),
        ({"pooler_hidden_act": "laplace"}, "pooler_hidden_act is 'laplace'"),
        ({"pos_att_type": ["p2p"]}, r"pos_att_type is \['p2p'\]"),
        ({"position_buckets": 1}, "position_buckets is 1"),
        ({"position_buckets": 512}, "position_buckets is 512"),
        ({"conv_kernel_size": 4}, "conv_kernel_size is 4"),
        ({"conv_kernel_size": 3, "conv_groups": 5}, "conv_groups is 5"),
        ({"conv_kernel_size": 3, "conv_act": "mish"}, "conv_act is 'mish'"),
    ],
)
def test_what_is_refused_is_named(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(UnsupportedModelError, match=rf"config\.json: {field}; expected"):
        read_config(config_of(**changes))
