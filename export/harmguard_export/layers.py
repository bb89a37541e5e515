"""Parts of a graph that encoders of every family have in common."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import TensorProto

from harmguard_export.graph import Graph
from harmguard_export.quantize import Floats, quantize_rows

Weights = Mapping[str, Floats]
"""A checkpoint's tensors by name, float32."""


def words(graph: Graph, table: Floats, int8: bool) -> str:
    """The rows of the word embeddings that `input_ids` names, float32 [batch, length, width]."""
    if not int8:
        return str(graph.node("Gather", [graph.weight("words", table), "input_ids"]))
    small, scale = quantize_rows(table)
    picked = graph.node("Gather", [graph.weight("words", small), "input_ids"])
    scales = graph.node("Gather", [graph.weight("words.scale", scale), "input_ids"])
    return str(graph.node("Mul", [graph.node("Cast", [picked], to=TensorProto.FLOAT), scales]))


def norm(graph: Graph, x: str, weights: Weights, name: str, epsilon: float) -> str:
    """LayerNormalization of the last axis with the weights `name`.weight and `name`.bias."""
    gain, bias = (graph.weight(f"{name}.{n}", weights[f"{name}.{n}"]) for n in ("weight", "bias"))
    return str(graph.node("LayerNormalization", [x, gain, bias], axis=-1, epsilon=epsilon))


def fp32(graph: Graph, x: str, weight: Floats, bias: Floats | None, name: str) -> str:
    """x @ weight [in, out] + bias [out]."""
    product = graph.node("MatMul", [x, graph.weight(name, weight)])
    if bias is None:
        return str(product)
    return str(graph.node("Add", [product, graph.weight(f"{name}.bias", bias)]))


def classifier(graph: Graph, pooled: str, weights: Weights) -> str:
    """The logits [batch, 2] of safe and harmful.

    A head with one output x, P(harmful) = sigmoid(x), is written as the logits 0 and x.
    """
    weight, bias = weights["classifier.weight"], weights["classifier.bias"]
    if len(weight) == 1:
        weight = np.concatenate([np.zeros_like(weight), weight])
        bias = np.concatenate([np.zeros_like(bias), bias])
    return fp32(graph, pooled, weight.T, bias, "classifier")
