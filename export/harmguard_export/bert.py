"""The graph of a BertForSequenceClassification, written for CPUs.

What differs from a traced model, each exact in real arithmetic:
- queries, keys and values come from one product, and the attention operator does the rest;
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
import numpy.typing as npt
from onnx import TensorProto

from harmguard_export.calibration import Activations
from harmguard_export.graph import MICROSOFT, Graph
from harmguard_export.layers import Weights, classifier, fp32, norm, words
from harmguard_export.quantize import (
    GELU_LEAST,
    GELU_STEPS,
    GELU_ZERO,
    SIGNED_STEPS,
    SIGNED_ZERO,
    Floats,
    Int8s,
    choose_spread,
    quantize_columns,
    round_gelu,
    round_signed,
    token_sizes,
)

Inputs = Mapping[str, Activations]
"""Layer's input ("0.qkv", "0.o", "0.up", "0.down", ...) -> what it looks like."""

# Channels of the feed-forward's inner layer that are multiplied in fp32: in BERTs one channel or
# two reach several times what all others do, and would set the range of all.
_OUTLIERS = 8


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
    """Builds the graph. `activations` None: linear layers in fp32; else int8 for those inputs."""

    config: Any
    inputs: tuple[str, ...]
    weights: Weights
    activations: Inputs | None
    int8_embeddings: bool

    def write(self, folder: Path) -> list[str]:
        """Write the graph's files into `folder`; their names."""
        with Graph(self.inputs, folder) as self.graph:
            return self.graph.save(self._build(), 2)

    def _build(self) -> str:
        """The name of the graph's logits [batch, labels]."""
        self._spreads: dict[str, Floats] = {}
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
        vocabulary = self._array("embeddings.word_embeddings.weight")
        rows = words(self.graph, vocabulary, self.int8_embeddings)
        positions = self._array("embeddings.position_embeddings.weight")
        types = self._array("embeddings.token_type_embeddings.weight")
        if len(types) == 1:
            positions = positions + types
        table = self.graph.weight("positions", positions)
        length = node("Shape", ["input_ids"], start=1, end=2)
        places = node("Slice", [table, constant([0]), length, constant([0])])
        if len(types) > 1:
            kinds = node("Gather", [self.graph.weight("types", types), "token_type_ids"])
            places = node("Add", [kinds, places])
        return self._norm(rows, places, "embeddings.LayerNorm")

    def _norm(self, a: str, b: str, name: str) -> str:
        added = self.graph.node("Add", [a, b])
        return norm(self.graph, added, self.weights, f"bert.{name}", self.config.layer_norm_eps)

    def _fp32(self, x: str, weight: Floats, bias: Floats | None, name: str) -> str:
        return fp32(self.graph, x, weight, bias, name)

    def _quantize(self, x: str, zero: int, steps: int) -> tuple[str, str, str]:
        """x as u8, its step and its zero point."""
        step = self.graph.constant(1 / steps, np.float32)
        point = self.graph.constant(zero, np.uint8)
        return str(self.graph.node("QuantizeLinear", [x, step, point])), step, point

    def _int8(
        self,
        quantized: tuple[str, str, str],
        weight: tuple[Int8s, Floats],
        bias: Floats | None,
        name: str,
    ) -> str:
        x, step, zero = quantized
        inputs = [x, self.graph.weight(name, weight[0]), step]
        inputs += [self.graph.weight(f"{name}.scale", weight[1]), zero, ""]
        if bias is not None:
            inputs.append(self.graph.weight(f"{name}.bias", bias))
        return str(self.graph.node("MatMulIntegerToFloat", inputs, domain=MICROSOFT))

    def _spread(self, name: str, weight: Floats) -> Floats:
        """What the channels of a layer's input are divided by before they are quantised."""
        assert self.activations is not None
        found = self.activations[name]
        return choose_spread(found.largest, found.sample, weight)

    def _rounded(self, name: str, weight: Floats, spread: Floats) -> tuple[Int8s, Floats]:
        """An int8 weight [in, out] for an input that was divided by `spread`."""
        assert self.activations is not None
        sample = self.activations[name].sample
        inputs = round_signed(sample / spread) / token_sizes(sample @ weight)
        return quantize_columns(weight * spread[:, None], inputs)

    def _divided(self, x: str, name: str, spread: Floats) -> str:
        return str(self.graph.node("Mul", [x, self.graph.weight(f"{name}.divide", 1 / spread)]))

    def _output(self, layer: int) -> tuple[Floats, Floats, Floats | None]:
        """The attention's output layer: weight, bias, and what its int8 input is divided by."""
        weight, bias = self._layer(layer, "attention.output.dense")
        name = f"{layer}.o"
        if self.activations is None:
            return weight, bias, None
        if name not in self._spreads:
            self._spreads[name] = self._spread(name, weight)
        return weight, bias, self._spreads[name]

    def _projections(self, layer: int) -> list[tuple[Floats, Floats]]:
        """Query, key and value; for int8 the values leave divided as the output layer needs."""
        parts = [self._layer(layer, f"attention.self.{n}") for n in ("query", "key", "value")]
        spread = self._output(layer)[2]
        if spread is not None:
            weight, bias = parts[2]
            parts[2] = weight / spread, bias / spread
        return parts

    def _attention(self, hidden: str, mask: str, layer: int) -> str:
        parts = self._projections(layer)
        weight = np.concatenate([w for w, _ in parts], 1)
        name = f"{layer}.qkv"
        bias = self.graph.weight(f"{name}.bias", np.concatenate([b for _, b in parts]))
        if self.activations is None:
            inputs = [hidden, self.graph.weight(name, weight), bias, mask]
            operator = "Attention"
        else:
            spread = self._spread(name, weight)
            small, scale = self._rounded(name, weight, spread)
            divided = self._divided(hidden, name, spread)
            x, step, zero = self._quantize(divided, SIGNED_ZERO, SIGNED_STEPS)
            scales = self.graph.weight(f"{name}.scale", scale)
            zeros = self.graph.weight(f"{name}.zero", np.zeros(len(scale), np.int8))
            inputs = [x, self.graph.weight(name, small), bias, step, scales, mask, zero, zeros]
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
        present = node("Unsqueeze", ["attention_mask", constant([1])])
        present = node("Cast", [present], to=TensorProto.BOOL)
        scores = node("Where", [present, scores, constant(-1e9, np.float32)])
        shares = node("Softmax", [scores], axis=-1)
        mean = node("MatMul", [shares, hidden])
        mean = node("Reshape", [mean, constant([0, self.heads, 1, self.width])])
        values = wv.reshape(self.width, self.heads, size).transpose(1, 0, 2)
        mixed = node("MatMul", [mean, self.graph.weight(f"{layer}.value", values)])
        mixed = node("Reshape", [mixed, constant([0, 1, self.width])])
        return str(node("Add", [mixed, self.graph.weight(f"{layer}.value.bias", bv)]))

    def _attention_output(self, mixed: str, hidden: str, layer: int) -> str:
        weight, bias, spread = self._output(layer)
        name = f"{layer}.o"
        if spread is None:
            out = self._fp32(mixed, weight, bias, name)
        else:
            x = self._quantize(mixed, SIGNED_ZERO, SIGNED_STEPS)
            out = self._int8(x, self._rounded(name, weight, spread), bias, name)
        return self._norm(out, hidden, f"encoder.layer.{layer}.attention.output.LayerNorm")

    def _feed_forward(self, hidden: str, layer: int) -> str:
        up, down = f"{layer}.up", f"{layer}.down"
        weight, bias = self._layer(layer, "intermediate.dense")
        weight2, bias2 = self._layer(layer, "output.dense")
        if self.activations is None:
            grown = self._gelu(self._fp32(hidden, weight, None, up), bias, up)
            out = self._fp32(grown, weight2, bias2, down)
        else:
            # The inner layer's order is free: outliers first.
            order = np.argsort(-self.activations[down].largest, kind="stable")
            weight, bias, weight2 = weight[:, order], bias[order], weight2[order]
            spread = self._spread(up, weight)
            x = self._quantize(self._divided(hidden, up, spread), SIGNED_ZERO, SIGNED_STEPS)
            grown = self._int8(x, self._rounded(up, weight, spread), None, up)
            out = self._down(self._gelu(grown, bias, up), weight2, bias2, order, down)
        return self._norm(out, hidden, f"encoder.layer.{layer}.output.LayerNorm")

    def _gelu(self, x: str, bias: Floats, name: str) -> str:
        # By tanh in int8: 0.0005 off at most, far below the step that follows, and quicker.
        operator = "BiasGelu" if self.activations is None else "FastGelu"
        held = self.graph.weight(f"{name}.bias", bias)
        return str(self.graph.node(operator, [x, held], domain=MICROSOFT))

    def _down(
        self, grown: str, weight: Floats, bias: Floats, order: npt.NDArray[np.intp], name: str
    ) -> str:
        """The feed-forward's second layer: outliers, if there are any, in fp32, the rest int8."""
        assert self.activations is not None
        node, constant = self.graph.node, self.graph.constant
        found = self.activations[name]
        reaches = found.largest[order]
        # Less than a factor of two is not worth three operators.
        few = _OUTLIERS if reaches[0] > 2 * reaches[min(_OUTLIERS, len(reaches) - 1)] else 0
        reach = max(float(reaches[few]), GELU_LEAST)
        sample = found.sample[:, order]
        inputs = round_gelu(sample / reach) / token_sizes(sample @ weight)
        # The outliers saturate in int8, where their weights are zero.
        inputs[:, :few] = 0
        rest = weight * reach
        rest[:few] = 0
        step, zero = constant(1 / GELU_STEPS, np.float32), constant(GELU_ZERO, np.uint8)
        wide = constant(reach / GELU_STEPS, np.float32)
        x = node("QuantizeLinear", [grown, wide, zero])
        out = self._int8((x, step, zero), quantize_columns(rest, inputs), bias, name)
        if few:
            outliers = node("Slice", [grown, *map(constant, ([0], [few], [2]))])
            held = self.graph.weight(f"{name}.outliers", weight[:few])
            out = str(node("Add", [out, node("MatMul", [outliers, held])]))
        return out

    def _head(self, first: str) -> str:
        rows = self.graph.node("Squeeze", [first, self.graph.constant([1])])
        weight, bias = (self._array(f"pooler.dense.{n}") for n in ("weight", "bias"))
        pooled = self.graph.node("Tanh", [self._fp32(rows, weight.T, bias, "pooler")])
        return classifier(self.graph, pooled, self.weights)
