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
        self, x: str, name: str, parts: Mapping[str, Linear], *, positive: bool = False
    ) -> list[str]:
        """Outputs of layers that read the same x [rows, in], whose input is called `name`.

        `positive`: x comes from an activation such as GELU, which is never below -0.17.
        """
        precision = self.precision(name)
        if precision == "fp32":
            return [fp32(self.graph, x, *linear, part) for part, linear in parts.items()]
        found = self.activations[name]
        weight = np.concatenate([w for w, _ in parts.values()], 1)
        # Four bits are signed: a range from 0 up is for int8.
        division = choose_division(found, weight, precision, positive and precision == "int8")
        self.errors[name] = max(self.errors.get(name, 0), division.error**0.5)
        first = next(iter(parts))
        sample = division.inputs(found.sample) / token_sizes(found.sample @ weight)
        divided = self._divided(x, first, division)
        beside = self._outliers(x, first, division, parts)
        if precision == "int4":
            # The kernel adds a bias by itself.
            outputs = [
                self._int4(divided, part, division.weight(linear[0]), linear[1], sample)
                for part, linear in parts.items()
            ]
            if not beside:
                return outputs
            return [self.graph.node("Add", list(two)) for two in zip(outputs, beside, strict=True)]
        small, size = quantized(self.graph, divided, 1, positive=division.positive)
        step = GELU_STEPS if division.positive else SIGNED_STEPS
        zero = GELU_ZERO if division.positive else SIGNED_ZERO
        scale = self.graph.constant(1 / step, np.float32), self.graph.constant(zero, np.uint8)
        outputs = []
        for index, (part, (w, bias)) in enumerate(parts.items()):
            product = self._int8(small, scale, part, division.weight(w), sample)
            product = self.graph.node("Mul", [product, size])
            if beside:
                product = self.graph.node("Add", [product, beside[index]])
            # Last, so that onnxruntime makes it one with a GELU after it.
            held = self.graph.weight(f"{part}.bias", bias)
            outputs.append(self.graph.node("Add", [product, held]))
        return outputs

    def _divided(self, x: str, name: str, division: Division) -> str:
        factors = division.factors
        if (factors == 1).all():
            return x
        return str(self.graph.node("Mul", [x, self.graph.weight(f"{name}.factors", factors)]))

    def _int8(
        self, x: str, scale: tuple[str, str], name: str, weight: Floats, sample: Floats
    ) -> str:
        small, scales = quantize_columns(weight, sample)
        held = self.graph.weight(name, small), self.graph.weight(f"{name}.scale", scales)
        inputs = [x, held[0], scale[0], held[1], scale[1]]
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

    def _outliers(
        self, x: str, name: str, division: Division, parts: Mapping[str, Linear]
    ) -> list[str]:
        """The outlier channels' share of each output, in float32."""
        if not len(division.outliers):
            return []
        node, weight = self.graph.node, self.graph.weight
        picks = weight(f"{name}.outliers", division.outliers.astype(np.int32))
        few = node("Gather", [x, picks], axis=1)
        found = []
        for part, (w, _) in parts.items():
            held = weight(f"{part}.fp32", w[division.outliers])
            found.append(node("MatMul", [few, held]))
        return found


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
