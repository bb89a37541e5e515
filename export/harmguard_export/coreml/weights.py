"""A checkpoint's arrays under the names that the program uses, for every family."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from harmguard.checkpoint import Checkpoint
from harmguard.errors import UnsupportedModelError
from harmguard_export.deberta_config import DebertaConfig, read_config
from harmguard_export.families import (
    FAMILIES,
    EncoderConfig,
    Family,
    distance_buckets,
    embedding_tables,
    family_of,
    read_encoder,
)
from harmguard_export.graphs import deberta
from harmguard_export.graphs.layers import two_labels
from harmguard_export.quantization.quantize import Floats

Linear = tuple[Floats, Floats | None]


@dataclass(frozen=True)
class ModelWeights:
    """Weights [outputs, inputs] in float32, and what the config says."""

    config: DebertaConfig
    weights: Mapping[str, Floats]
    inputs: tuple[str, ...]
    family: Family
    encoder: EncoderConfig | None
    """None for a DeBERTa."""

    @staticmethod
    def of(checkpoint: Checkpoint) -> ModelWeights:
        """Raises UnsupportedModelError for a model that has no graph of ours."""
        config, encoder = checkpoint.config, None
        if config.model_type == deberta.MODEL_TYPE:
            found = read_config(config)
        elif config.model_type in FAMILIES:
            encoder = read_encoder(config)
            found = _encoder_config(encoder, checkpoint.inputs)
        else:
            raise UnsupportedModelError(
                f"a model of the type {config.model_type!a}; expected deberta-v2 or one of "
                f"{', '.join(FAMILIES)}; Core ML programs are written for these alone"
            )
        weights = {n: t.numpy() for n, t in checkpoint.model.state_dict().items()}
        return ModelWeights(found, weights, checkpoint.inputs, family_of(config), encoder)

    def _array(self, name: str) -> Floats:
        return self.weights[f"{self.family.prefix}.{name}"]

    def _pair(self, path: str) -> tuple[Floats, Floats]:
        return self.weights[f"{path}.weight"], self.weights[f"{path}.bias"]

    def _layer(self, layer: int, part: str) -> tuple[Floats, Floats]:
        return self._pair(f"{self.family.stack}.{layer}.{getattr(self.family, part)}")

    def linear(self, layer: int, part: str) -> Linear:
        """Weight and bias of query, key, value, o, up or down."""
        return self._layer(layer, part)

    def layer_norm(self, layer: int, part: str) -> tuple[Floats, Floats]:
        """Gain and bias of a layer's "attention_norm" or "output_norm"."""
        return self._layer(layer, part)

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
        return self._pair(f"{self.family.prefix}.{name}")

    @cached_property
    def tables(self) -> tuple[Floats, Floats | None, Floats | None]:
        """The tables of words, of absolute positions from the first token on, and of types."""
        config = self.config
        if self.encoder is not None:
            typed = "token_type_ids" in self.inputs
            words, rows, types = embedding_tables(self.encoder, self.weights, typed)
            # Windows are padded behind their tokens, and no text has the padding's id.
            skipped = self.encoder.padding + 1 if self.family.counted else 0
            return words, rows[skipped:], types
        name = "embeddings.{}_embeddings.weight"
        places = self._array(name.format("position")) if config.absolute else None
        types = self._array(name.format("token_type")) if config.types else None
        return self._array(name.format("word")), places, types

    @property
    def embed_projection(self) -> Linear:
        """[width, width of an embedding], and a bias in ELECTRA."""
        if self.encoder is not None:
            return self._pair(f"{self.family.prefix}.embeddings_project")
        return self._array("embeddings.embed_proj.weight"), None

    @property
    def convolution(self) -> tuple[Floats, Floats]:
        """Weight [width, width / groups, kernel] and bias of DeBERTa-v2 xlarge's convolution."""
        return self._pair("deberta.encoder.conv.conv")

    @property
    def pooler(self) -> Linear:
        """The pooler's layer, or the head's first one."""
        return self._pair(self.family.dense)

    @property
    def classifier(self) -> Linear:
        """Two outputs: a head that has one output x gives the logits 0 and x."""
        return two_labels(*self._pair(self.family.classifier))

    def distances(self, found: Any) -> Floats:
        """MPNet's bias of the scores by the distances key - query [heads, distances]."""
        rows = self._array(self.family.relative)
        buckets = distance_buckets(self.config.longest + 1)
        return np.ascontiguousarray(rows[buckets[np.asarray(found) + self.config.longest]].T)

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


def _encoder_config(config: EncoderConfig, inputs: tuple[str, ...]) -> DebertaConfig:
    """A BERT-like encoder in the words of DeBERTa: absolute positions and no relative ones."""
    return DebertaConfig(
        layers=config.layers,
        heads=config.heads,
        width=config.width,
        embedding=config.embedding,
        epsilon=config.epsilon,
        activation=config.activation,
        pooler_activation=config.family.head_activation,
        absolute=True,
        types=2 if "token_type_ids" in inputs else 0,
        relative=False,
        terms=frozenset(),
        shared=False,
        buckets=0,
        most=config.longest,
        normed=False,
        conv=None,
        longest=config.longest,
    )
