"""The graph of a BertForSequenceClassification, written for CPUs.

What differs from a traced model, each exact in real arithmetic:
- queries, keys and values come from one product, and the attention operator does the rest;
- position and token type embeddings are one table;
- the classifier reads the first token only, so the last layer is computed for that row only.
  Its keys and values are never made: q Wk^T is compared with the hidden states themselves, and
  the attention's mean of the hidden states goes through Wv.
- Add and LayerNormalization stay apart: together (SkipLayerNormalization) they take two to
  three times as long on a CPU. Sessions must not fuse them: ORT_ENABLE_BASIC.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto

from harmguard_export.graph import MICROSOFT, Graph
from harmguard_export.quantize import Floats, quantize_columns, quantize_rows

Weights = Mapping[str, Floats]
Ranges = Mapping[str, Floats]
"""Layer's input -> largest absolute value per channel; see `ranges.py`."""

# GELU never goes below -0.17, so its 8 bits are spent on the positive side.
_GELU_ZERO, _GELU_STEPS = 20, 235
_GELU_LEAST = 0.17 * _GELU_STEPS / _GELU_ZERO
_SIGNED_ZERO, _SIGNED_STEPS = 128, 127


def is_supported(config: Any) -> bool:
    """Whether this graph computes the model of a transformers config."""
    return bool(
        config.model_type == "bert"
        and config.hidden_act == "gelu"
        and getattr(config, "position_embedding_type", "absolute") == "absolute"
        and not config.is_decoder
        and not config.add_cross_attention
    )


@dataclass
class BertGraph:
    """Builds the graph. `ranges` None: linear layers in fp32; else int8 with those ranges."""

    config: Any
    inputs: tuple[str, ...]
    weights: Weights
    ranges: Ranges | None
    int8_embeddings: bool

    def write(self, folder: Path) -> list[str]:
        """Write the graph's files into `folder`; their names."""
        logits = self._build()
        return self.graph.save(logits, self.config.num_labels, folder)

    def _build(self) -> str:
        """The name of the graph's logits [batch, labels]."""
        self.graph = Graph(self.inputs)
        self.heads = self.config.num_attention_heads
        self.width = self.config.hidden_size
        node = self.graph.node
        hidden = self._embeddings()
        mask = node("Cast", ["attention_mask"], to=TensorProto.INT32)
        layers = self.config.num_hidden_layers
        for layer in range(layers):
            if layer < layers - 1:
                mixed = self._attention(hidden, mask, layer)
            else:
                first = node("Slice", [hidden, *map(self.graph.constant, ([0], [1], [1]))])
                mixed = self._first_attention(hidden, first, layer)
                hidden = first
            hidden = self._feed_forward(self._attention_output(mixed, hidden, layer), layer)
        return self._head(hidden)

    def _array(self, name: str) -> Floats:
        return self.weights[f"bert.{name}"]

    def _layer(self, layer: int, part: str) -> tuple[Floats, Floats]:
        """Weight [in, out] and bias [out] of a linear layer."""
        name = f"encoder.layer.{layer}.{part}"
        return self._array(f"{name}.weight").T, self._array(f"{name}.bias")

    def _embeddings(self) -> str:
        node, constant = self.graph.node, self.graph.constant
        words = self._table("words", self._array("embeddings.word_embeddings.weight"), "input_ids")
        positions = self._array("embeddings.position_embeddings.weight")
        types = self._array("embeddings.token_type_embeddings.weight")
        length = node("Shape", ["input_ids"], start=1, end=2)
        if len(types) == 1:
            table = self.graph.weight("positions", positions + types)
            places = node("Slice", [table, constant([0]), length, constant([0])])
        else:
            # Row type * positions + position holds the sum of the two.
            both = (types[:, None] + positions[None]).reshape(-1, self.width)
            steps = node("Range", [constant(0), node("Squeeze", [length]), constant(1)])
            rows = node("Mul", ["token_type_ids", constant(len(positions))])
            places = self._table("places", both, node("Add", [rows, steps]))
        return self._norm(words, places, "embeddings.LayerNorm")

    def _table(self, name: str, values: Floats, rows: str) -> str:
        """The rows of an embedding table, as float32."""
        node, weight = self.graph.node, self.graph.weight
        if not self.int8_embeddings:
            return str(node("Gather", [weight(name, values), rows]))
        small, scale = quantize_rows(values)
        picked = node("Gather", [weight(name, small), rows])
        scales = node("Gather", [weight(f"{name}.scale", scale), rows])
        return str(node("Mul", [node("Cast", [picked], to=TensorProto.FLOAT), scales]))

    def _norm(self, a: str, b: str, name: str) -> str:
        gain, bias = (self._array(f"{name}.{part}") for part in ("weight", "bias"))
        added = self.graph.node("Add", [a, b])
        weights = [self.graph.weight(f"{name}.gain", gain), self.graph.weight(f"{name}.bias", bias)]
        epsilon = self.config.layer_norm_eps
        return str(
            self.graph.node("LayerNormalization", [added, *weights], axis=-1, epsilon=epsilon)
        )

    def _fp32(self, x: str, weight: Floats, bias: Floats | None, name: str) -> str:
        product = self.graph.node("MatMul", [x, self.graph.weight(name, weight)])
        if bias is None:
            return str(product)
        return str(self.graph.node("Add", [product, self.graph.weight(f"{name}.bias", bias)]))

    def _linear(
        self, x: str, weight: Floats, bias: Floats | None, name: str, spread: Floats
    ) -> str:
        """x @ weight (+ bias), where x is divided by `spread` already if the layer is int8."""
        if self.ranges is None:
            return self._fp32(x, weight, bias, name)
        gelu = name.endswith(".down")
        quantized, scales = self._quantize(x, gelu)
        small, scale = quantize_columns(weight * spread[:, None])
        step, zero = scales
        inputs = [quantized, self.graph.weight(name, small), step]
        inputs += [self.graph.weight(f"{name}.scale", scale), zero, ""]
        if bias is not None:
            inputs.append(self.graph.weight(f"{name}.bias", bias))
        return str(self.graph.node("MatMulIntegerToFloat", inputs, domain=MICROSOFT))

    def _quantize(self, x: str, gelu: bool) -> tuple[str, tuple[str, str]]:
        """x in [-1, 1] as u8, with its step and zero point."""
        zero, steps = (_GELU_ZERO, _GELU_STEPS) if gelu else (_SIGNED_ZERO, _SIGNED_STEPS)
        step = self.graph.constant(1 / steps, np.float32)
        point = self.graph.constant(zero, np.uint8)
        return str(self.graph.node("QuantizeLinear", [x, step, point])), (step, point)

    def _spread(self, name: str, least: float = 0.0) -> Floats:
        """What each channel of a layer's input is divided by before it is quantised."""
        if self.ranges is None:
            return np.ones(0, np.float32)
        largest = self.ranges[name]
        # A channel that hardly moves must not take the weights' resolution.
        return np.maximum(largest, max(least, float(np.median(largest)) / 4)).astype(np.float32)

    def _divided(self, x: str, name: str, spread: Floats) -> str:
        if self.ranges is None:
            return x
        return str(self.graph.node("Mul", [x, self.graph.weight(f"{name}.divide", 1 / spread)]))

    def _projections(self, layer: int) -> list[tuple[Floats, Floats]]:
        """Query, key and value; for int8 the values leave divided by the next layer's spread."""
        parts = [self._layer(layer, f"attention.self.{n}") for n in ("query", "key", "value")]
        if self.ranges is not None:
            weight, bias = parts[2]
            spread = self._spread(f"{layer}.o")
            parts[2] = weight / spread, bias / spread
        return parts

    def _attention(self, hidden: str, mask: str, layer: int) -> str:
        parts = self._projections(layer)
        weight = np.concatenate([w for w, _ in parts], 1)
        name = f"{layer}.qkv"
        bias = self.graph.weight(f"{name}.bias", np.concatenate([b for _, b in parts]))
        if self.ranges is None:
            inputs = [hidden, self.graph.weight(name, weight), bias, mask]
            operator = "Attention"
        else:
            spread = self._spread(name)
            quantized, (step, zero) = self._quantize(self._divided(hidden, name, spread), False)
            small, scale = quantize_columns(weight * spread[:, None])
            scales = self.graph.weight(f"{name}.scale", scale)
            zeros = self.graph.weight(f"{name}.zero", np.zeros(len(scale), np.int8))
            inputs = [quantized, self.graph.weight(name, small), bias, step, scales, mask]
            inputs += [zero, zeros]
            operator = "QAttention"
        return str(self.graph.node(operator, inputs, domain=MICROSOFT, num_heads=self.heads))

    def _first_attention(self, hidden: str, first: str, layer: int) -> str:
        """The attention of the first token only: [batch, 1, width]."""
        node, constant = self.graph.node, self.graph.constant
        (wq, bq), (wk, _), (wv, bv) = self._projections(layer)
        size = self.width // self.heads
        scale = 1 / math.sqrt(size)
        query = self._fp32(first, wq * scale, bq * scale, f"{layer}.query")
        query = node("Reshape", [query, constant([0, self.heads, 1, size])])
        keys = wk.reshape(self.width, self.heads, size).transpose(1, 2, 0)
        # The key's bias adds the same number to every score of a head: softmax does not see it.
        query = node("MatMul", [query, self.graph.weight(f"{layer}.key", keys)])
        query = node("Reshape", [query, constant([0, self.heads, self.width])])
        scores = node("FusedMatMul", [query, hidden], domain=MICROSOFT, transB=1)
        present = node("Cast", ["attention_mask"], to=TensorProto.FLOAT)
        mask = node("Unsqueeze", [present, constant([1])])
        absent = node("Sub", [mask, constant(1, np.float32)])
        penalty = node("Mul", [absent, constant(1e9, np.float32)])
        shares = node("Softmax", [node("Add", [scores, penalty])], axis=-1)
        mean = node("MatMul", [shares, hidden])
        mean = node("Reshape", [mean, constant([0, self.heads, 1, self.width])])
        values = wv.reshape(self.width, self.heads, size).transpose(1, 0, 2)
        mixed = node("MatMul", [mean, self.graph.weight(f"{layer}.value", values)])
        mixed = node("Reshape", [mixed, constant([0, 1, self.width])])
        return str(node("Add", [mixed, self.graph.weight(f"{layer}.value.bias", bv)]))

    def _attention_output(self, mixed: str, hidden: str, layer: int) -> str:
        part = f"encoder.layer.{layer}.attention.output"
        weight, bias = self._layer(layer, "attention.output.dense")
        out = self._linear(mixed, weight, bias, f"{layer}.o", self._spread(f"{layer}.o"))
        return self._norm(out, hidden, f"{part}.LayerNorm")

    def _feed_forward(self, hidden: str, layer: int) -> str:
        up, down = f"{layer}.up", f"{layer}.down"
        weight, bias = self._layer(layer, "intermediate.dense")
        spread = self._spread(up)
        grown = self._linear(self._divided(hidden, up, spread), weight, None, up, spread)
        grown = self.graph.node(
            "BiasGelu", [grown, self.graph.weight(f"{up}.bias", bias)], domain=MICROSOFT
        )
        weight, bias = self._layer(layer, "output.dense")
        spread = self._spread(down, _GELU_LEAST)
        out = self._linear(self._divided(grown, down, spread), weight, bias, down, spread)
        return self._norm(out, hidden, f"encoder.layer.{layer}.output.LayerNorm")

    def _head(self, first: str) -> str:
        rows = self.graph.node("Squeeze", [first, self.graph.constant([1])])
        weight, bias = (self._array(f"pooler.dense.{n}") for n in ("weight", "bias"))
        pooled = self.graph.node("Tanh", [self._fp32(rows, weight.T, bias, "pooler")])
        weight, bias = self.weights["classifier.weight"], self.weights["classifier.bias"]
        return self._fp32(pooled, weight.T, bias, "classifier")
