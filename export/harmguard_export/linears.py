"""The linear layers of a graph, each in the precision that the recipe gives it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harmguard_export.graph import Graph
from harmguard_export.layers import fp32
from harmguard_export.quantize import Floats

Linear = tuple[Floats, Floats]
"""Weight [in, out] and bias [out]."""


@dataclass(frozen=True)
class Linears:
    """Adds linear layers to `graph`."""

    graph: Graph

    def add(self, x: str, name: str, parts: Mapping[str, Linear]) -> list[str]:
        """Outputs of layers that read the same x [rows, in], whose input is called `name`."""
        return [fp32(self.graph, x, *linear, part) for part, linear in parts.items()]
