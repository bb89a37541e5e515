"""Parts of a graph that encoders of every family have in common."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import TensorProto

from harmguard_export.graphs.writer import MICROSOFT, Graph
from harmguard_export.quantization.quantize import Floats, quantize_rows

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


def norm(
    graph: Graph,
    x: str,
    gain: Floats,
    bias: Floats | None,
    name: str,
    epsilon: float,
    factors: Floats | None = None,
) -> str:
    """LayerNormalization of the last axis, its result multiplied by `factors` [channels]."""
    if factors is not None:
        gain, bias = gain * factors, None if bias is None else bias * factors
    held = [graph.weight(f"{name}.weight", gain)]
    if bias is not None:
        held.append(graph.weight(f"{name}.bias", bias))
    return str(graph.node("LayerNormalization", [x, *held], axis=-1, epsilon=epsilon))


def fp32(graph: Graph, x: str, weight: Floats, bias: Floats | None, name: str) -> str:
    """x @ weight [in, out] + bias [out]."""
    product = graph.node("MatMul", [x, graph.weight(name, weight)])
    if bias is None:
        return str(product)
    return str(graph.node("Add", [product, graph.weight(f"{name}.bias", bias)]))


def classifier(graph: Graph, pooled: str, weights: Weights, name: str = "classifier") -> str:
    """The logits [batch, 2] of safe and harmful, by the weights `name`.weight and `name`.bias."""
    weight, bias = two_labels(weights[f"{name}.weight"], weights[f"{name}.bias"])
    return fp32(graph, pooled, weight.T, bias, "classifier")


def two_labels(weight: Floats, bias: Floats) -> tuple[Floats, Floats]:
    """A classifier's weight [2, in] and bias [2].

    A head with one output x, P(harmful) = sigmoid(x), is written as the logits 0 and x.
    """
    if len(weight) == 2:
        return weight, bias
    return np.concatenate([np.zeros_like(weight), weight]), np.concatenate(
        [np.zeros_like(bias), bias]
    )


def activation(graph: Graph, x: str, name: str) -> str:
    """A transformers activation by its name, one of `deberta_config.ACTIVATIONS`."""
    if name == "gelu":
        return str(graph.node("Gelu", [x], domain=MICROSOFT))
    if name.startswith("gelu"):
        return str(graph.node("FastGelu", [x], domain=MICROSOFT))
    if name in ("silu", "swish"):
        return str(graph.node("Mul", [x, graph.node("Sigmoid", [x])]))
    return str(graph.node({"relu": "Relu", "tanh": "Tanh"}[name], [x]))
