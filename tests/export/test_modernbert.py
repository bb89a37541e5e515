"""ModernBERT's graph against transformers, for every branch of its config."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
import transformers
from harmguard_export.deberta_config import ACTIVATIONS
from harmguard_export.families import LAYER_INPUTS, family_of
from harmguard_export.graphs.modernbert import ModernBertGraph, read_modernbert
from harmguard_export.quantization.activation_ranges import Activations
from harmguard_export.quantization.recipe import load_recipe
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import ModernBertConfig

from harmguard.errors import UnsupportedModelError

# transformers' module is compiled in parts by what torch has given up.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
NAMES = ("input_ids", "attention_mask")
LENGTHS = (1, 2, 7, 64, 130, 300, 512)
WORDS = 60


def config_of(**changes: Any) -> ModernBertConfig:
    sizes = {
        "vocab_size": WORDS, "hidden_size": 24, "num_hidden_layers": 4, "num_attention_heads": 3,
        "intermediate_size": 20, "max_position_embeddings": 2048, "local_attention": 16,
        "pad_token_id": 1, "cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2,
        "eos_token_id": 3, "reference_compile": False, "attn_implementation": "eager",
    }  # fmt: skip
    return ModernBertConfig(**{**sizes, **changes})


def model_of(config: ModernBertConfig) -> Any:
    torch.manual_seed(1)
    model = transformers.ModernBertForSequenceClassification(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.normal_(0.3, 0.3)
            else:
                parameter.normal_(0, 0.2)
    return model


def batch(rows: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    mask = np.arange(length) < np.linspace(1, length, rows).round()[::-1, None]
    ids = np.random.default_rng(length).integers(5, WORDS, (rows, length))
    return np.where(mask, ids, 1), mask.astype(np.int64)


def session_of(model: Any, folder: Path, recipe: str = "fp32", seen: Any = None) -> Any:
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    read = read_modernbert(model.config)
    ModernBertGraph(read, NAMES, weights, load_recipe(recipe), seen or {}, True).write(folder)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(folder / "model.onnx", options)


def torch_logits(model: Any, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
    given = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
    with torch.inference_mode():
        return np.asarray(model(**given).logits.numpy())


def largest_error(config: ModernBertConfig, lengths: tuple[int, ...]) -> float:
    """Largest difference of the fp32 logits, batches of 1 and 5, the latter with padding."""
    model, worst = model_of(config), 0.0
    with tempfile.TemporaryDirectory() as folder:
        session = session_of(model, Path(folder))
        for length in lengths:
            for rows in (1, 5):
                ids, mask = batch(rows, length)
                found = session.run(["logits"], dict(zip(NAMES, (ids, mask), strict=True)))[0]
                expected = torch_logits(model, ids, mask)
                error = np.abs(found[:, -config.num_labels :] - expected).max()
                worst = max(worst, float(error))
    return worst


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"classifier_pooling": "mean"},
        {"num_hidden_layers": 3},  # the last layer is a local one
        {"num_hidden_layers": 1, "num_labels": 1},
        {"attention_bias": True, "mlp_bias": True, "norm_bias": True, "classifier_bias": True},
        {"local_rope_theta": None, "global_attn_every_n_layers": 2},
    ],
    ids=str,
)
def test_logits_are_torchs(changes: dict[str, Any]) -> None:
    assert largest_error(config_of(**changes), LENGTHS) < 1e-4


@st.composite
def configs(draw: st.DrawFn) -> ModernBertConfig:
    heads = draw(st.sampled_from([1, 2, 3]))
    biases = ("attention_bias", "mlp_bias", "norm_bias", "classifier_bias")
    return config_of(
        hidden_size=heads * draw(st.sampled_from([2, 4, 8])),
        num_attention_heads=heads,
        num_hidden_layers=draw(st.integers(1, 4)),
        intermediate_size=draw(st.integers(1, 30)),
        num_labels=draw(st.sampled_from([1, 2])),
        local_attention=draw(st.sampled_from([2, 5, 16, 128])),
        global_attn_every_n_layers=draw(st.integers(1, 3)),
        classifier_pooling=draw(st.sampled_from(["cls", "mean"])),
        hidden_activation=draw(st.sampled_from(ACTIVATIONS)),
        classifier_activation=draw(st.sampled_from(ACTIVATIONS)),
        **{name: draw(st.booleans()) for name in biases},
    )


@settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow])
@given(config=configs(), length=st.sampled_from(LENGTHS))
def test_logits_of_any_config(config: ModernBertConfig, length: int) -> None:
    assert largest_error(config, (length,)) < 1e-4


def seen_by(model: Any) -> dict[str, Activations]:
    family = family_of(model.config)
    kept: dict[str, Any] = {}

    def hook(name: str) -> Any:
        return lambda _, inputs: kept.__setitem__(name, inputs[0].flatten(0, 1).numpy().copy())

    for number, layer in enumerate(model.get_submodule(family.stack).children()):
        for kind in LAYER_INPUTS:
            layer.get_submodule(family.modules(kind)[-1]).register_forward_pre_hook(
                hook(f"{number}.{kind}")
            )
    ids, mask = batch(8, 64)
    torch_logits(model, ids, np.ones_like(mask))
    return {n: Activations(np.abs(v).max(0) * np.float32(1.1), v) for n, v in kept.items()}


@pytest.mark.parametrize("recipe", ["int8", "int4"])
@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_rounded_logits_do_not_depend_on_neighbours_or_padding(
    tmp_path: Path, recipe: str, pooling: str
) -> None:
    model = model_of(config_of(hidden_size=96, intermediate_size=80, classifier_pooling=pooling))
    ids, mask = batch(5, 40)
    session = session_of(model, tmp_path, recipe, seen_by(model))
    together = session.run(["logits"], dict(zip(NAMES, (ids, mask), strict=True)))[0]
    exact = torch_logits(model, ids, mask)
    error = float(np.sqrt(((together - exact) ** 2).mean())) / float(exact.std())
    assert error < (0.15 if recipe == "int8" else 1.0)
    for row in range(5):
        length = int(mask[row].sum())
        own = dict(
            zip(NAMES, (ids[row : row + 1, :length], mask[row : row + 1, :length]), strict=True)
        )
        alone = session.run(["logits"], own)[0]
        assert np.abs(alone - together[row]).max() < 1e-4 * max(1.0, float(exact.std()))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0"),
        ({"hidden_size": 25}, "num_attention_heads is 3"),
        ({"hidden_activation": "mish"}, "hidden_activation is 'mish'"),
        ({"classifier_activation": "mish"}, "classifier_activation is 'mish'"),
        ({"local_attention": 1}, "local_attention is 1"),
        ({"global_attn_every_n_layers": 0}, "global_attn_every_n_layers is 0"),
    ],
)
def test_what_is_refused_is_named(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(UnsupportedModelError, match=rf"config\.json: {field}; expected"):
        read_modernbert(config_of(**changes))
