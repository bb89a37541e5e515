"""The linear layers of a graph, each in the precision that the recipe gives it.

int8: every token (row) has a range of its own, found while the graph runs, so that a score does
not depend on the texts beside it. The product is MatMulIntegerToFloat, whose weights are such
that no processor saturates (`quantize.column_scales`). int4: MatMulNBits, which rounds its input
in blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from harmguard_export.calibration import Activations
from harmguard_export.division import Division, choose_division
from harmguard_export.graph import MICROSOFT, Graph
from harmguard_export.layers import fp32
from harmguard_export.quantize import (
    BLOCK,
    GELU_LEAST,
    GELU_STEPS,
    GELU_ZERO,
    LEAST,
    SIGNED_STEPS,
    SIGNED_ZERO,
    Floats,
    quantize_blocks,
    quantize_columns,
    token_sizes,
)

Linear = tuple[Floats, Floats]
"""Weight [in, out] and bias [out]."""


@dataclass
class Linears:
    """Adds linear layers to `graph`.

    `precision` gives that of an input by its name ("0.qkv", "0.o", ...), `activations` what the
    inputs of those that are not fp32 look like.
    """

    graph: Graph
    precision: Callable[[str], str]
    activations: Mapping[str, Activations]
    errors: dict[str, float] = field(default_factory=dict)
    """Input -> relative RMS error of its layers' outputs on the calibration texts."""

    def add(
        self, x: str, name: str, linear: Linear, *, label: str = "", positive: bool = False
    ) -> str:
        """The output of a linear layer whose input is called `name`.

        Layers that read the same x are one, with their weights side by side: one product, and
        operators for its ranges once. `label` names the weights where `name` has several layers.
        `positive`: x comes from an activation such as GELU, which is never below -0.17.
        """
        label, precision, (weight, bias) = label or name, self.precision(name), linear
        if precision == "fp32":
            return fp32(self.graph, x, *linear, label)
        node, found = self.graph.node, self.activations[name]
        # Four bits are signed: a range from 0 up is for int8.
        division = choose_division(found, weight, precision, positive and precision == "int8")
        self.errors[name] = max(self.errors.get(name, 0), division.error**0.5)
        sample = division.inputs(found.sample) / token_sizes(found.sample @ weight)
        divided = self._divided(x, label, division)
        beside = self._outliers(x, label, division, weight)
        if precision == "int4":
            # The kernel adds a bias by itself.
            product = self._int4(divided, label, division.weight(weight), bias, sample)
            return node("Add", [product, beside]) if beside else product
        small, size = quantized(self.graph, divided, 1, positive=division.positive)
        product = self._int8(small, label, division, weight, sample)
        product = node("Mul", [product, size])
        if beside:
            product = node("Add", [product, beside])
        # Last, so that onnxruntime makes it one with a GELU after it.
        return str(node("Add", [product, self.graph.weight(f"{label}.bias", bias)]))

    def _divided(self, x: str, name: str, division: Division) -> str:
        factors = division.factors
        if (factors == 1).all():
            return x
        return str(self.graph.node("Mul", [x, self.graph.weight(f"{name}.factors", factors)]))

    def _int8(self, x: str, name: str, division: Division, weight: Floats, sample: Floats) -> str:
        constant, positive = self.graph.constant, division.positive
        small, scales = quantize_columns(division.weight(weight), sample)
        step = constant(1 / (GELU_STEPS if positive else SIGNED_STEPS), np.float32)
        zero = constant(GELU_ZERO if positive else SIGNED_ZERO, np.uint8)
        held = self.graph.weight(name, small), self.graph.weight(f"{name}.scale", scales)
        inputs = [x, held[0], step, held[1], zero]
        return str(self.graph.node("MatMulIntegerToFloat", inputs, domain=MICROSOFT))

    def _int4(self, x: str, name: str, weight: Floats, bias: Floats, sample: Floats) -> str:
        packed, scales = quantize_blocks(weight, sample)
        weights: dict[str, npt.NDArray[Any]] = {
            name: packed,
            f"{name}.scale": scales,
            f"{name}.bias": bias,
        }
        held = [self.graph.weight(key, values) for key, values in weights.items()]
        rows, columns = weight.shape
        inputs = [x, *held[:2], "", "", held[2]]
        shape = {"K": rows, "N": columns, "bits": 4, "block_size": BLOCK, "accuracy_level": 4}
        return str(self.graph.node("MatMulNBits", inputs, domain=MICROSOFT, **shape))

    def _outliers(self, x: str, name: str, division: Division, weight: Floats) -> str:
        """The outlier channels' share of the output in float32; "" where there are none."""
        if not len(division.outliers):
            return ""
        picks = self.graph.weight(f"{name}.outliers", division.outliers.astype(np.int32))
        few = self.graph.node("Gather", [x, picks], axis=1)
        held = self.graph.weight(f"{name}.fp32", weight[division.outliers])
        return str(self.graph.node("MatMul", [few, held]))


def quantized(graph: Graph, x: str, axis: int, *, positive: bool = False) -> tuple[str, str]:
    """x as u8, each token divided by its range along the last axis, and the ranges [..., 1]."""
    node, constant = graph.node, graph.constant
    size = x if positive else node("Abs", [x])
    size = node("ReduceMax", [size, constant([axis])], keepdims=1)
    least = GELU_LEAST if positive else LEAST
    size = node("Max", [size, constant(least, np.float32)])
    steps, zero = (GELU_STEPS, GELU_ZERO) if positive else (SIGNED_STEPS, SIGNED_ZERO)
    scale = constant(1 / steps, np.float32), constant(zero, np.uint8)
    return node("QuantizeLinear", [node("Mul", [x, node("Reciprocal", [size])]), *scale]), size
