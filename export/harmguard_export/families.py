"""The encoders that one graph computes, with what sets them apart as data.

`FAMILIES` names, by a config's `model_type`, where a checkpoint keeps each of its tensors and which
of a few forms its embeddings, layers and head have. `read_encoder` checks a config against that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from harmguard.errors import UnsupportedModelError
from harmguard_export.deberta_config import ACTIVATIONS, EncoderShape

# MPNet's distances: the code of transformers takes these numbers whatever the config says.
_BUCKETS, _FARTHEST = 32, 128


@dataclass(frozen=True)
class Family:
    """Names of a family's tensors, those of a layer relative to it, and its forms."""

    prefix: str
    layers: str = "encoder.layer"
    query: str = "attention.self.query"
    key: str = "attention.self.key"
    value: str = "attention.self.value"
    o: str = "attention.output.dense"
    up: str = "intermediate.dense"
    down: str = "output.dense"
    attention_norm: str = "attention.output.LayerNorm"
    output_norm: str = "output.LayerNorm"
    pre_norm: bool = False
    """The layer's two norms are before the attention and the feed-forward, not after them."""
    embeddings_norm: str = "embeddings.LayerNorm"
    """"": none."""
    final_norm: str = ""
    """A norm after the last layer; "": none."""
    counted: bool = False
    """Positions count the tokens that are no padding, from the padding's id + 1 on."""
    relative: str = ""
    """A bias of the attention scores by the bucket of a distance [buckets, heads]; "": none."""
    dense: str = "classifier.dense"
    """The head's first layer, or the pooler."""
    head_activation: str = "tanh"
    classifier: str = "classifier.out_proj"

    @property
    def stack(self) -> str:
        """The module that holds the layers."""
        return f"{self.prefix}.{self.layers}"

    def modules(self, kind: str) -> list[str]:
        """A layer's modules that read the input "qkv", "o", "up" or "down"."""
        if kind == "qkv":
            return list(dict.fromkeys([self.query, self.key, self.value]))
        return [{"o": self.o, "up": self.up, "down": self.down}[kind]]


LAYER_INPUTS = ("qkv", "o", "up", "down")
"""A layer's inputs, those of linear layers."""

_ROBERTA = Family("roberta", counted=True)
FAMILIES = {
    "bert": Family("bert", dense="bert.pooler.dense", classifier="classifier"),
    "ernie": Family("ernie", dense="ernie.pooler.dense", classifier="classifier"),
    "electra": Family("electra", head_activation="gelu"),
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "camembert": _ROBERTA,
    "data2vec-text": Family("data2vec_text", counted=True),
    "distilbert": Family(
        "distilbert",
        layers="transformer.layer",
        query="attention.q_lin",
        key="attention.k_lin",
        value="attention.v_lin",
        o="attention.out_lin",
        up="ffn.lin1",
        down="ffn.lin2",
        attention_norm="sa_layer_norm",
        output_norm="output_layer_norm",
        dense="pre_classifier",
        head_activation="relu",
        classifier="classifier",
    ),
    "mpnet": Family(
        "mpnet",
        query="attention.attn.q",
        key="attention.attn.k",
        value="attention.attn.v",
        o="attention.attn.o",
        attention_norm="attention.LayerNorm",
        counted=True,
        relative="encoder.relative_attention_bias.weight",
    ),
    "megatron-bert": Family(
        "bert",
        attention_norm="attention.ln",
        output_norm="ln",
        pre_norm=True,
        embeddings_norm="",
        final_norm="encoder.ln",
        dense="bert.pooler.dense",
        classifier="classifier",
    ),
}

_DEBERTA = Family(
    "deberta",
    query="attention.self.query_proj",
    key="attention.self.key_proj",
    value="attention.self.value_proj",
    dense="pooler.dense",
    classifier="classifier",
)
_MODERNBERT = Family(
    "model",
    layers="layers",
    query="attn.Wqkv",
    key="attn.Wqkv",
    value="attn.Wqkv",
    o="attn.Wo",
    up="mlp.Wi",
    down="mlp.Wo",
    pre_norm=True,
)


def family_of(config: Any) -> Family:
    """Where a model of a transformers config that has a graph of ours keeps its tensors."""
    others = {"deberta-v2": _DEBERTA, "modernbert": _MODERNBERT}
    return others.get(config.model_type) or FAMILIES[config.model_type]


@dataclass(frozen=True)
class EncoderConfig(EncoderShape):
    """What the config of a family in FAMILIES says beside."""

    family: Family
    embedding: int
    """Width of the word embeddings; projected where it is not `width`."""
    padding: int
    """The padding's id, where positions are counted."""
    task: bool
    """The first row of Ernie's task embeddings is added to all tokens."""
    longest: int
    """Rows of the position embeddings."""


def read_encoder(config: Any) -> EncoderConfig:
    """Check a transformers config; UnsupportedModelError names the field that is at fault."""

    def get(field: str, default: Any) -> Any:
        return getattr(config, field, default)

    def check(field: str, found: object, right: bool, expected: str) -> None:
        if not right:
            raise UnsupportedModelError(
                f"config.json: {field} is {found!r}; expected {expected}; likely a variant "
                "that is exported by optimum alone, in fp32"
            )

    kind = config.model_type
    check("model_type", kind, kind in FAMILIES, f"one of {', '.join(FAMILIES)}")
    family = FAMILIES[kind]
    width, heads = config.hidden_size, config.num_attention_heads
    check("num_hidden_layers", config.num_hidden_layers, config.num_hidden_layers > 0, "1 or more")
    check("num_attention_heads", heads, width % heads == 0, f"a divisor of {width}")
    activation = get("activation" if kind == "distilbert" else "hidden_act", None)
    check("hidden_act", activation, activation in ACTIVATIONS, f"one of {', '.join(ACTIVATIONS)}")
    form = get("position_embedding_type", "absolute")
    check("position_embedding_type", form, form == "absolute", "absolute")
    for field in ("is_decoder", "add_cross_attention"):
        check(field, get(field, False), not get(field, False), "false")
    buckets = get("relative_attention_num_buckets", _BUCKETS)
    if family.relative:
        check("relative_attention_num_buckets", buckets, buckets >= _BUCKETS, f"{_BUCKETS}")
    padding = 1 if kind == "mpnet" else int(get("pad_token_id", 0) or 0)
    return EncoderConfig(
        family=family,
        layers=config.num_hidden_layers,
        heads=heads,
        width=width,
        embedding=get("embedding_size", width) if kind == "electra" else width,
        epsilon=get("layer_norm_eps", 1e-12),
        activation=activation,
        padding=padding,
        task=kind == "ernie" and bool(get("use_task_id", False)),
        longest=config.max_position_embeddings,
    )


def distance_buckets(longest: int) -> npt.NDArray[np.int64]:
    """MPNet's bucket of the distances key - query from -(longest - 1) to longest - 1, in order.

    Half of the buckets are for keys after the query. Of a half, half are for one distance each,
    the rest logarithmic (Raffel et al., arXiv:1910.10683, in their code).
    """
    distances = torch.arange(1 - longest, longest)
    half = _BUCKETS // 2
    exact = half // 2
    size = distances.abs()
    # In torch's float32, because a rounding decides where the logarithm is whole.
    large = torch.log(size.float() / exact) / np.log(_FARTHEST / exact) * (half - exact)
    far = (exact + large.clamp(min=0).long()).clamp(max=half - 1)
    buckets = torch.where(size < exact, size, far) + half * (distances > 0)
    return np.asarray(buckets.numpy(), np.int64)


def embedding_tables(
    config: EncoderConfig, weights: Any, typed: bool
) -> tuple[Any, npt.NDArray[np.float32], Any]:
    """The tables of words, of positions, and of token types (None: all tokens have one type).

    What is the same for all tokens, that one type and Ernie's task, is part of the positions.
    `typed`: the model is given token types.
    """
    name = f"{config.family.prefix}.embeddings"
    positions = weights[f"{name}.position_embeddings.weight"]
    types = weights.get(f"{name}.token_type_embeddings.weight")
    if types is not None and not typed:
        positions, types = positions + types[0], None
    if config.task:
        positions = positions + weights[f"{name}.task_type_embeddings.weight"][0]
    return weights[f"{name}.word_embeddings.weight"], positions, types
