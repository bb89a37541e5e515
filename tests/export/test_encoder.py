"""The one graph of BERT-like encoders against transformers, for every family and form."""

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
from harmguard_export.exporter import has_graph
from harmguard_export.families import FAMILIES, read_encoder
from harmguard_export.graphs.encoder import EncoderGraph
from harmguard_export.quantization.activation_ranges import Activations
from harmguard_export.quantization.recipe import load_recipe
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harmguard.errors import UnsupportedModelError

CLASSES = {
    "bert": "Bert", "ernie": "Ernie", "electra": "Electra", "roberta": "Roberta",
    "xlm-roberta": "XLMRoberta", "camembert": "Camembert", "data2vec-text": "Data2VecText",
    "distilbert": "DistilBert", "mpnet": "MPNet", "megatron-bert": "MegatronBert",
}  # fmt: skip
LENGTHS = (1, 2, 7, 64, 130, 300, 512)
WORDS = 60


def config_of(family: str, **changes: Any) -> Any:
    sizes = {
        "vocab_size": WORDS, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3,
        "intermediate_size": 40, "max_position_embeddings": 514, "num_labels": 2,
        "pad_token_id": 1,
    } | changes  # fmt: skip
    if family == "distilbert":
        names = {"hidden_size": "dim", "num_hidden_layers": "n_layers", "hidden_act": "activation",
                 "num_attention_heads": "n_heads", "intermediate_size": "hidden_dim"}  # fmt: skip
        sizes = {names.get(name, name): value for name, value in sizes.items()}
    return getattr(transformers, f"{CLASSES[family]}Config")(**sizes)


def model_of(config: Any) -> Any:
    torch.manual_seed(1)
    name = f"{CLASSES[config.model_type]}ForSequenceClassification"
    model = getattr(transformers, name)(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.normal_(0.2, 0.3)
            else:
                parameter.normal_(0, 0.2)
    return model


def names_of(config: Any) -> tuple[str, ...]:
    """As `Checkpoint.inputs`: families that count positions are never given token types."""
    typed = not FAMILIES[config.model_type].counted and getattr(config, "type_vocab_size", 0) > 1
    return ("input_ids", "attention_mask", "token_type_ids")[: 2 + typed]


def batch(rows: int, length: int, types: int = 2, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Ids, mask and types of `rows` texts of 1 to `length` tokens, the rest of a row padding."""
    random = np.random.default_rng(length + seed)
    mask = np.arange(length) < np.linspace(1, length, rows).round()[::-1, None]
    ids = np.where(mask, random.integers(5, WORDS, (rows, length)), 1)
    return ids, mask.astype(np.int64), random.integers(0, types, ids.shape)


def session_of(
    config: Any, model: Any, folder: Path, recipe: str = "fp32", seen: Any = None
) -> Any:
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    names = names_of(config)
    read = read_encoder(config)
    EncoderGraph(read, names, weights, load_recipe(recipe), seen or {}, True).write(folder)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(folder / "model.onnx", options)


def largest_error(config: Any, lengths: tuple[int, ...]) -> float:
    """Largest difference of the fp32 logits from torch's, batches of 1 and, with padding, 5."""
    model, worst = model_of(config), 0.0
    names = names_of(config)
    with tempfile.TemporaryDirectory() as folder:
        session = session_of(config, model, Path(folder))
        for length in lengths:
            for rows in (1, 5):
                arrays = batch(rows, length, getattr(config, "type_vocab_size", 1))
                feed = dict(zip(names, arrays, strict=False))
                with torch.inference_mode():
                    expected = model(**{n: torch.from_numpy(v) for n, v in feed.items()}).logits
                found = session.run(["logits"], feed)[0]
                if config.num_labels == 1:
                    assert (found[:, 0] == 0).all()
                error = np.abs(found[:, -config.num_labels :] - expected.numpy()).max()
                worst = max(worst, float(error))
    return worst


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_torchs(family: str) -> None:
    assert largest_error(config_of(family), LENGTHS) < 1e-4


@st.composite
def configs(draw: st.DrawFn) -> Any:
    family = draw(st.sampled_from(sorted(FAMILIES)))
    heads = draw(st.sampled_from([1, 2, 3]))
    changes: dict[str, Any] = {
        "hidden_size": heads * draw(st.sampled_from([2, 4, 6])),
        "num_attention_heads": heads,
        "num_hidden_layers": draw(st.integers(1, 3)),
        "intermediate_size": draw(st.integers(1, 30)),
        "num_labels": draw(st.sampled_from([1, 2])),
        "hidden_act": draw(st.sampled_from(ACTIVATIONS)),
    }
    if family not in ("distilbert", "mpnet"):
        changes["type_vocab_size"] = draw(st.sampled_from([1, 2, 3]))
    if family != "distilbert":
        changes["layer_norm_eps"] = draw(st.sampled_from([1e-12, 1e-5]))
    if family == "electra":
        changes["embedding_size"] = draw(st.sampled_from([4, changes["hidden_size"]]))
    if family == "ernie":
        changes["use_task_id"] = draw(st.booleans())
    if family == "distilbert":
        changes["sinusoidal_pos_embds"] = draw(st.booleans())
    return config_of(family, **changes)


@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(config=configs(), length=st.sampled_from(LENGTHS))
def test_logits_of_any_config(config: Any, length: int) -> None:
    assert largest_error(config, (length,)) < 1e-4


def seen_by(config: Any, model: Any) -> dict[str, Activations]:
    """What the model's layers read, on random texts."""
    family, found = FAMILIES[config.model_type], {}
    layers = model.get_submodule(family.stack)
    kept: dict[str, Any] = {}

    def hook(name: str) -> Any:
        return lambda _, inputs: kept.__setitem__(name, inputs[0].flatten(0, 1).numpy().copy())

    for number, layer in enumerate(layers.children()):
        for kind in ("qkv", "o", "up", "down"):
            path = family.modules(kind)[-1]
            layer.get_submodule(path).register_forward_pre_hook(hook(f"{number}.{kind}"))
    ids, mask, types = batch(8, 64)
    feed = dict(zip(names_of(config), (ids, np.ones_like(mask), types), strict=False))
    with torch.inference_mode():
        model(**{n: torch.from_numpy(v) for n, v in feed.items()})
    for name, values in kept.items():
        found[name] = Activations(np.abs(values).max(0) * np.float32(1.1), values)
    return found


@pytest.mark.parametrize("recipe", ["int8", "int4"])
@pytest.mark.parametrize("family", FAMILIES)
def test_rounded_logits_do_not_depend_on_neighbours_or_padding(
    family: str, recipe: str, tmp_path: Path
) -> None:
    config = config_of(family, hidden_size=96, intermediate_size=160)
    model = model_of(config)
    names, arrays = names_of(config), batch(5, 40)
    session = session_of(config, model, tmp_path, recipe, seen_by(config, model))
    together = session.run(["logits"], dict(zip(names, arrays, strict=False)))[0]
    with torch.inference_mode():
        feed = {n: torch.from_numpy(v) for n, v in zip(names, arrays, strict=False)}
        exact = model(**feed).logits.numpy()
    # A limit for "the same function, rounded": random weights are no guard.
    error = float(np.sqrt(((together - exact) ** 2).mean())) / float(exact.std())
    assert error < (0.15 if recipe == "int8" else 1.0)
    for row in range(5):
        length = int(arrays[1][row].sum())
        own = [array[row : row + 1, :length] for array in arrays]
        alone = session.run(["logits"], dict(zip(names, own, strict=False)))[0]
        assert np.abs(alone - together[row]).max() < 1e-4 * max(1.0, exact.std())


@pytest.mark.parametrize(
    ("family", "changes", "field"),
    [
        ("bert", {"hidden_act": "mish"}, "hidden_act is 'mish'"),
        ("bert", {"position_embedding_type": "relative_key"}, "position_embedding_type is 'rel"),
        ("roberta", {"is_decoder": True}, "is_decoder is True"),
        ("electra", {"num_hidden_layers": 0}, "num_hidden_layers is 0"),
        ("mpnet", {"relative_attention_num_buckets": 8}, "relative_attention_num_buckets is 8"),
        ("ernie", {"num_attention_heads": 7}, "num_attention_heads is 7"),
    ],
)
def test_what_is_refused_is_named(family: str, changes: dict[str, Any], field: str) -> None:
    config = config_of(family, **changes)
    assert not has_graph(config)
    with pytest.raises(UnsupportedModelError, match=rf"config\.json: {field}.*; expected"):
        read_encoder(config)


def test_another_kind_of_model_is_refused() -> None:
    with pytest.raises(UnsupportedModelError, match="model_type is 'gpt2'; expected one of bert"):
        read_encoder(transformers.GPT2Config(n_layer=1))
