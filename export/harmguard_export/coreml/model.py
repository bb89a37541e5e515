"""A checkpoint's arrays under the names that the program uses, for BERT and DeBERTa alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from harmguard.checkpoint import Checkpoint
from harmguard.errors import UnsupportedModelError
from harmguard_export import bert, deberta
from harmguard_export.deberta_config import DebertaConfig, read_config
from harmguard_export.quantize import Floats

_PATHS = {"o": "attention.output.dense", "up": "intermediate.dense", "down": "output.dense"}
Linear = tuple[Floats, Floats | None]


@dataclass(frozen=True)
class Model:
    """Weights [outputs, inputs] in float32, and what the config says."""

    config: DebertaConfig
    weights: Mapping[str, Floats]
    inputs: tuple[str, ...]
    family: str

    @staticmethod
    def of(checkpoint: Checkpoint) -> Model:
        """Raises UnsupportedModelError for a model that is neither."""
        config = checkpoint.config
        if config.model_type == deberta.MODEL_TYPE:
            family, found = "deberta", read_config(config)
        elif bert.is_supported(config):
            family, found = "bert", _bert_config(config)
        else:
            raise UnsupportedModelError(
                f"a model of the type {config.model_type!a}; expected bert with GELU and absolute "
                "positions, or deberta-v2; Core ML programs are written for these alone"
            )
        weights = {n: t.numpy() for n, t in checkpoint.model.state_dict().items()}
        return Model(found, weights, checkpoint.inputs, family)

    def _array(self, name: str) -> Floats:
        return self.weights[f"{self.family}.{name}"]

    def _pair(self, path: str) -> tuple[Floats, Floats]:
        return self.weights[f"{path}.weight"], self.weights[f"{path}.bias"]

    def linear(self, layer: int, part: str) -> Linear:
        """Weight and bias of query, key, value, o, up or down."""
        suffix = "_proj" if self.family == "deberta" else ""
        path = _PATHS.get(part, f"attention.self.{part}{suffix}")
        return self._pair(f"{self.family}.encoder.layer.{layer}.{path}")

    @property
    def _half_scale(self) -> np.float32:
        """The scores' scale, half of it for each side: small weights are coarse in fp16."""
        return np.float32(self.config.scale**0.5)

    def side(self, layer: int, part: str) -> Linear:
        """The query or the key, with its half of the scores' scale."""
        weight, bias = self.linear(layer, part)
        assert bias is not None
        return weight * self._half_scale, bias * self._half_scale

    def norm(self, name: str) -> tuple[Floats, Floats]:
        """Gain and bias of a LayerNorm."""
        return self._pair(f"{self.family}.{name}")

    @property
    def words(self) -> Floats:
        """[words, width of an embedding]."""
        return self._array("embeddings.word_embeddings.weight")

    @property
    def places(self) -> Floats:
        """Absolute positions [positions, width of an embedding]."""
        return self._array("embeddings.position_embeddings.weight")

    @property
    def types(self) -> Any:
        """[types, width of an embedding], or None."""
        return self._array("embeddings.token_type_embeddings.weight") if self.config.types else None

    @property
    def embed_projection(self) -> Floats:
        """[width, width of an embedding]."""
        return self._array("embeddings.embed_proj.weight")

    @property
    def convolution(self) -> tuple[Floats, Floats]:
        """Weight [width, width / groups, kernel] and bias of DeBERTa-v2 xlarge's convolution."""
        return self._pair("deberta.encoder.conv.conv")

    @property
    def pooler(self) -> Linear:
        """The pooler's layer."""
        return self._pair("bert.pooler.dense" if self.family == "bert" else "pooler.dense")

    @property
    def classifier(self) -> Linear:
        """Two outputs: a head that has one output x gives the logits 0 and x."""
        weight, bias = self._pair("classifier")
        if len(weight) == 1:
            zero = np.zeros_like(weight)
            return np.concatenate([zero, weight]), np.concatenate([np.zeros_like(bias), bias])
        return weight, bias

    @cached_property
    def _relative(self) -> Floats:
        """Relative embeddings [rows, width], normed where the model does that."""
        rows = self._array("encoder.rel_embeddings.weight")[: 2 * self.config.span]
        if not self.config.normed:
            return rows
        gain, bias = self.norm("encoder.LayerNorm")
        centred = rows.astype(np.float64) - rows.mean(1, keepdims=True, dtype=np.float64)
        spread = np.sqrt((centred**2).mean(1, keepdims=True) + self.config.epsilon)
        return np.asarray(centred / spread * gain + bias, np.float32)

    def position_table(self, term: str, layer: int, distances: Any) -> Floats:
        """A term's rows for `distances` [heads * width of a head, distances], scaled as a side."""
        part = "key" if term == "c2p" else "query"
        if self.config.shared:
            weight, bias = self.linear(layer, part)
        else:
            path = f"deberta.encoder.layer.{layer}.attention.self.pos_{part}_proj"
            weight = self.weights[f"{path}.weight"]
            bias = self.weights.get(f"{path}.bias")
        table = self._relative @ weight.T
        if bias is not None:
            table = table + bias
        table = table * self._half_scale
        rows = self.config.rows()[np.asarray(distances) + self.config.longest]
        return np.ascontiguousarray(table[rows].T)


def _bert_config(config: Any) -> DebertaConfig:
    """A BERT in the words of DeBERTa: absolute positions and no relative ones."""
    return DebertaConfig(
        layers=config.num_hidden_layers,
        heads=config.num_attention_heads,
        width=config.hidden_size,
        embedding=config.hidden_size,
        epsilon=config.layer_norm_eps,
        activation=config.hidden_act,
        pooler_activation="tanh",
        absolute=True,
        types=config.type_vocab_size,
        relative=False,
        terms=frozenset(),
        shared=False,
        buckets=0,
        most=config.max_position_embeddings,
        normed=False,
        conv=None,
        longest=config.max_position_embeddings,
    )
