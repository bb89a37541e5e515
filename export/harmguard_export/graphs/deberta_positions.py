"""DeBERTa's relative positions in a graph.

A score of query i and key j has up to two terms beside the content's: c2p, the query with the
position row of the distance i - j, and p2c, the key with another row of it (He et al.,
arXiv:2006.03654, equation 4). The rows are constants of each layer, computed at export.

The traced model multiplies with every row and picks with an index for every i and j. Here the
rows are put in the order of the distances L to -L first, so that the term of (i, j) is column
L + j - i of a product [L, 2L + 1]: element i * 2L + L + j of it, laid out flat. Seen as
[2L + 1, L], that is row 2i + 1, column j: the terms are every second row, a plain copy
(a form of the shift in Dai et al., arXiv:1901.02860).

Rows stored as int8 are multiplied as integers: it is the largest product beside the linear layers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from harmguard_export.deberta_config import DebertaConfig
from harmguard_export.graphs.layers import Weights
from harmguard_export.graphs.linears import quantized
from harmguard_export.graphs.writer import MICROSOFT, Graph
from harmguard_export.quantization.quantize import (
    SIGNED_STEPS,
    SIGNED_ZERO,
    Floats,
    column_scales,
)


@dataclass
class Positions:
    """Adds the position terms of each layer; `int8` stores their rows with a scale a head."""

    graph: Graph
    config: DebertaConfig
    weights: Weights
    int8: bool
    _picks: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.config.positions:
            self._relative = self._embeddings()
            self._prepare()

    def _prepare(self) -> None:
        """What all layers share: rows by distance for this length, and the shift's indices."""
        node, constant = self.graph.node, self.graph.constant
        longest, rows = self.config.longest, self.config.rows().astype(np.int32)
        length = node("Shape", ["input_ids"], start=1, end=2)
        middle, axis = constant([longest]), constant([0])
        last = node("Add", [middle, length])
        ends = node("Sub", [middle, length]), node("Add", [last, constant([1])])
        # c2p has the distances fall along a row, p2c rise.
        falling = self.graph.weight("distances.falling", rows[::-1])
        rising = self.graph.weight("distances.rising", rows)
        self._picks = {
            "c2p": node("Slice", [falling, *ends, axis]),
            "p2c": node("Slice", [rising, *ends, axis]),
        }
        self._first_pick = node("Slice", [falling, middle, last, axis])
        odd = self.graph.weight("odd", np.arange(1, 2 * longest, 2, dtype=np.int32))
        self._odd = node("Slice", [odd, constant([0]), length, axis])
        self._shifted = node("Concat", [constant([0, 0, -1]), length], axis=0)

    def _embeddings(self) -> Floats:
        """The relative embeddings [2 * span, width], normed where the model does that."""
        config = self.config
        rows = self.weights["deberta.encoder.rel_embeddings.weight"][: 2 * config.span]
        if not config.normed:
            return rows
        gain, bias = (self.weights[f"deberta.encoder.LayerNorm.{n}"] for n in ("weight", "bias"))
        centred = rows.astype(np.float64) - rows.mean(1, keepdims=True, dtype=np.float64)
        spread = np.sqrt((centred**2).mean(1, keepdims=True) + config.epsilon)
        return np.asarray(centred / spread * gain + bias, np.float32)

    def _picked(self, term: str, layer: int, pick: str, steps: int = 1) -> tuple[str, str | None]:
        """The term's rows for the picked distances as they are stored, and their scale by `steps`.

        [heads, distances, width of a head] and, of int8 rows, [heads, 1, 1].
        """
        node, name, config = self.graph.node, f"{layer}.{term}", self.config
        part = "key" if term == "c2p" else "query"
        path = f"deberta.encoder.layer.{layer}.attention.self."
        path += f"{part}_proj" if config.shared else f"pos_{part}_proj"
        table = self._relative @ self.weights[f"{path}.weight"].T + self.weights[f"{path}.bias"]
        if term == "p2c":
            table *= np.float32(config.scale)
        table = table.reshape(len(table), config.heads, config.head).transpose(1, 0, 2)
        if not self.int8:
            return str(node("Gather", [self.graph.weight(name, table), pick], axis=1)), None
        small, scale = quantize_heads(table)
        picked = node("Gather", [self.graph.weight(name, small), pick], axis=1)
        return str(picked), self.graph.weight(f"{name}.scale", scale / np.float32(steps))

    def _dense(self, picked: str, scale: str | None) -> str:
        """Picked rows in float32."""
        if scale is None:
            return picked
        node = self.graph.node
        return str(node("Mul", [node("Cast", [picked], to=TensorProto.FLOAT), scale]))

    def rows(self, layer: int) -> dict[str, tuple[str, str | None]]:
        """Each term's rows for the distances at hand, and what `term` needs of their scale."""
        return {
            term: self._picked(term, layer, self._picks[term], SIGNED_STEPS)
            for term in sorted(self.config.positions)
        }

    def term(self, term: str, query: str, key: str, rows: str, scale: str | None) -> str:
        """A term [heads, batch, L, L] of query and key [heads, batch, L, width of a head].

        Its rows are [heads, 1, distances, width of a head].
        """
        node = self.graph.node
        asking = query if term == "c2p" else key
        if scale is None:
            shifted = self._shift(self._times(asking, rows))
        else:
            shifted = self._int8_term(asking, rows, scale)
        if term == "p2c":
            # Its rows are keys.
            shifted = node("Transpose", [shifted], perm=[0, 1, 3, 2])
        return str(shifted)

    def _int8_term(self, asking: str, rows: str, scale: str) -> str:
        """The term of int8 rows, in integers: each token of each head is given its range."""
        node, constant = self.graph.node, self.graph.constant
        levels, size = quantized(self.graph, asking, 3)
        columns = node("Transpose", [rows], perm=[0, 1, 3, 2])
        found = self._shift(
            node("MatMulInteger", [levels, columns, constant(SIGNED_ZERO, np.uint8)])
        )
        found = node("Cast", [found], to=TensorProto.FLOAT)
        return str(node("Mul", [found, node("Mul", [size, scale])]))

    def _shift(self, product: str) -> str:
        """Of a product with all distances, what belongs to the pairs of tokens."""
        node = self.graph.node
        return str(node("Gather", [node("Reshape", [product, self._shifted]), self._odd], axis=2))

    def first_terms(self, query: str, key: str, layer: int) -> list[str]:
        """The terms [batch, heads, 1, L] of the first query alone."""
        found = []
        for term in sorted(self.config.positions):
            table = self._dense(*self._picked(term, layer, self._first_pick))
            if term == "c2p":
                found.append(self._times(query, table))
            else:
                product = self.graph.node("Mul", [key, table])
                axis = self.graph.constant([3])
                rows = self.graph.node("ReduceSum", [product, axis], keepdims=0)
                found.append(self.graph.node("Unsqueeze", [rows, self.graph.constant([2])]))
        return found

    def _times(self, x: str, table: str) -> str:
        return str(self.graph.node("FusedMatMul", [x, table], domain=MICROSOFT, transB=1))


def quantize_heads(table: Floats) -> tuple[npt.NDArray[Any], Floats]:
    """Int8 table [heads, rows, width] and a scale per head [heads, 1, 1], pair-safe."""
    scale = np.stack([column_scales(head.T).max(keepdims=True)[None] for head in table])
    return np.clip(np.rint(table / scale), -127, 127).astype(np.int8), scale
