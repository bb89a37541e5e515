"""The linear layers of a graph, each in the precision that the recipe gives it.

int8: the product is MatMulIntegerToFloat, whose weights are such that no processor saturates
(`quantize.column_scales`); the range of its input is fixed at export, or each token's (row's) own,
found while the graph runs. A score does not depend on the texts beside it either way. int4:
MatMulNBits, which rounds its input in blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from harmguard_export.graphs.layers import fp32
from harmguard_export.graphs.writer import MICROSOFT, Graph
from harmguard_export.quantization.activation_ranges import Activations
from harmguard_export.quantization.channel_scaling import ChannelScaling, choose_scaling
from harmguard_export.quantization.quantize import (
    BLOCK,
    LEAST,
    SIGNED_ZERO,
    Floats,
    quantize_blocks,
    quantize_columns,
    steps_above,
    token_sizes,
)

Linear = tuple[Floats, Floats | None]
"""Weight [in, out] and bias [out]; None: no bias."""


@dataclass
class Linears:
    """Adds linear layers to `graph`.

    `precision` gives that of an input by its name ("0.qkv", "0.o", ...), `activations` what the
    inputs of those that are not fp32 look like. `fixed`: int8 ranges may be fixed at export.
    """

    graph: Graph
    precision: Callable[[str], str]
    activations: Mapping[str, Activations]
    fixed: bool = False
    errors: dict[str, float] = field(default_factory=dict)
    """Input -> relative RMS error of its layers' outputs on the calibration texts."""
    _scalings: dict[str, ChannelScaling] = field(default_factory=dict)
    _folded: dict[str, ChannelScaling] = field(default_factory=dict)

    def fold(self, name: str, weight: Floats) -> Floats | None:
        """What an operator before may multiply the input `name` of `weight` by, or None.

        Who does so says `folded` to `add`.
        """
        if self.precision(name) == "fp32":
            return None
        scaling = self._scaling(name, weight, False)
        if not scaling.folds or (scaling.fixed and scaling.uniform):
            return None
        self._folded[name] = scaling
        return scaling.folded

    def add(
        self,
        x: str,
        name: str,
        linear: Linear,
        *,
        label: str = "",
        positive: bool = False,
        folded: bool = False,
    ) -> str:
        """The output of a linear layer whose input is called `name`.

        Layers that read the same x are one, with their weights side by side: one product, and
        operators for its ranges once. `label` names the weights where `name` has several layers.
        `positive`: x comes from an activation such as GELU, which is never below -0.17.
        `folded`: x was multiplied by what `fold` gave.
        """
        return self.add_parts(
            x, name, [linear], labels=[label or name], positive=positive, folded=folded
        )[0]

    def add_parts(
        self,
        x: str,
        name: str,
        parts: Sequence[Linear],
        *,
        labels: Sequence[str],
        positive: bool = False,
        folded: bool = False,
    ) -> list[str]:
        """The outputs of layers that all read x: it is quantised once, and each has its product."""
        precision = self.precision(name)
        named = list(zip(labels, parts, strict=True))
        if precision == "fp32":
            return [fp32(self.graph, x, *linear, label) for label, linear in named]
        found = self.activations[name]
        weight = np.concatenate([w for w, _ in parts], 1)
        scaling = self._folded[name] if folded else self._scaling(name, weight, positive)
        self.errors[name] = max(self.errors.get(name, 0), scaling.error**0.5)
        sample = scaling.inputs(found.sample) / token_sizes(found.sample @ weight)
        beside = self._outliers(x, scaling, named)
        size = ""
        if precision == "int4":
            held = x if folded else self._divided(x, labels[0], scaling)
        elif scaling.fixed:
            held = self._fixed(x, labels[0], scaling, folded)
        else:
            held = x if folded else self._divided(x, labels[0], scaling)
            held, size = quantized(self.graph, held, -1, scaling.zero, scaling.least)
        outputs, node = [], self.graph.node
        for (label, (part, bias)), few in zip(named, beside, strict=True):
            stored = scaling.weight(part)
            own = bias if precision == "int4" or scaling.fixed else None
            if precision == "int4":
                product = self._int4(held, label, stored, own, sample)
            else:
                product = self._int8(held, label, scaling.zero, stored, own, sample)
            if size:
                product = node("Mul", [product, size])
            if few:
                product = node("Add", [product, few])
            if bias is not None and own is None:
                # Last, so that onnxruntime makes it one with a GELU after it.
                product = node("Add", [product, self.graph.weight(f"{label}.bias", bias)])
            outputs.append(str(product))
        return outputs

    def _scaling(self, name: str, weight: Floats, positive: bool) -> ChannelScaling:
        """The input's scaling; that of its first `weight` where several calls read it."""
        precision = self.precision(name)
        key = f"{name} {weight.shape}"
        if key not in self._scalings:
            # Four bits are signed: steps that are mostly above 0 are for int8.
            positive = positive and precision == "int8"
            self._scalings[key] = choose_scaling(
                self.activations[name], weight, precision, positive, fixed=self.fixed
            )
        return self._scalings[key]

    def _divided(self, x: str, name: str, scaling: ChannelScaling) -> str:
        factors = scaling.factors
        if (factors == 1).all():
            return x
        return str(self.graph.node("Mul", [x, self.graph.weight(f"{name}.factors", factors)]))

    def _fixed(self, x: str, name: str, scaling: ChannelScaling, folded: bool) -> str:
        """x as u8 of the scaling's range; outliers saturate, where their weights are 0."""
        node, constant = self.graph.node, self.graph.constant
        whole = 1.0
        if scaling.uniform:
            whole = float(scaling.spread[0])
        elif not folded:
            x = node("Mul", [x, self.graph.weight(f"{name}.factors", scaling.folded)])
        step = constant(whole / steps_above(scaling.zero), np.float32)
        return str(node("QuantizeLinear", [x, step, constant(scaling.zero, np.uint8)]))

    def _int8(
        self, x: str, name: str, zero: int, weight: Floats, bias: Floats | None, sample: Floats
    ) -> str:
        constant = self.graph.constant
        small, scales = quantize_columns(weight, sample)
        held = self.graph.weight(name, small), self.graph.weight(f"{name}.scale", scales)
        step = constant(1 / steps_above(zero), np.float32)
        inputs = [x, held[0], step, held[1], constant(zero, np.uint8)]
        if bias is not None:
            inputs += ["", self.graph.weight(f"{name}.bias", bias)]
        return str(self.graph.node("MatMulIntegerToFloat", inputs, domain=MICROSOFT))

    def _int4(self, x: str, name: str, weight: Floats, bias: Floats | None, sample: Floats) -> str:
        packed, scales = quantize_blocks(weight, sample)
        weights: dict[str, npt.NDArray[Any]] = {name: packed, f"{name}.scale": scales}
        inputs = [x, *(self.graph.weight(key, values) for key, values in weights.items())]
        if bias is not None:
            # The kernel adds a bias by itself.
            inputs += ["", "", self.graph.weight(f"{name}.bias", bias)]
        rows, columns = weight.shape
        shape = {"K": rows, "N": columns, "bits": 4, "block_size": BLOCK, "accuracy_level": 4}
        return str(self.graph.node("MatMulNBits", inputs, domain=MICROSOFT, **shape))

    def _outliers(
        self, x: str, scaling: ChannelScaling, parts: Sequence[tuple[str, Linear]]
    ) -> list[str]:
        """The outlier channels' share of each output in float32; "" where there are none."""
        if not len(scaling.outliers):
            return [""] * len(parts)
        first = parts[0][0]
        picks = self.graph.weight(f"{first}.outliers", scaling.outliers.astype(np.int32))
        few = self.graph.node("Gather", [x, picks], axis=-1)
        return [
            self.graph.node(
                "MatMul", [few, self.graph.weight(f"{label}.fp32", weight[scaling.outliers])]
            )
            for label, (weight, _) in parts
        ]


def quantized(
    graph: Graph, x: str, axis: int, zero: int = SIGNED_ZERO, least: float = LEAST
) -> tuple[str, str]:
    """x as u8, each token divided by its range along the last axis, and the ranges [..., 1].

    `zero` stands for 0; where it is not SIGNED_ZERO, only values above 0 make the range.
    """
    node, constant = graph.node, graph.constant
    size = x if zero != SIGNED_ZERO else node("Abs", [x])
    size = node("ReduceMax", [size, constant([axis])], keepdims=1)
    size = node("Max", [size, constant(least, np.float32)])
    scale = constant(1 / steps_above(zero), np.float32), constant(zero, np.uint8)
    return node("QuantizeLinear", [node("Mul", [x, node("Reciprocal", [size])]), *scale]), size
