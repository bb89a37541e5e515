"""What the graphs of all families have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from harmguard_export.graphs.layers import Weights, norm
from harmguard_export.graphs.linears import Linears
from harmguard_export.graphs.writer import Graph
from harmguard_export.quantization.activation_ranges import Activations
from harmguard_export.quantization.quantize import Floats
from harmguard_export.quantization.recipe import Recipe


class _Config(Protocol):
    @property
    def epsilon(self) -> float: ...


Config = TypeVar("Config", bound=_Config)


@dataclass
class FamilyGraph(Generic[Config]):
    """Builds the graph of `config` by `recipe`.

    `activations` says what layer inputs look like, for those that are not in fp32.
    """

    config: Config
    inputs: tuple[str, ...]
    weights: Weights
    recipe: Recipe
    activations: Mapping[str, Activations]
    fixed: bool = False
    """int8 ranges may be fixed at export, where that is nearly as good as tokens' own."""

    def write(self, folder: Path) -> list[str]:
        """Write the graph's files into `folder`; their names."""
        with Graph(self.inputs, folder) as self.graph:
            self.linears = Linears(self.graph, self.recipe.precision, self.activations, self.fixed)
            return self.graph.save(self._build(), 2)

    def _build(self) -> str:
        """The name of the logits [batch, 2]."""
        raise NotImplementedError

    def _linear(self, name: str) -> tuple[Floats, Any]:
        """Weight [in, out] and bias [out], None without one."""
        return self.weights[f"{name}.weight"].T, self.weights.get(f"{name}.bias")

    def _norm(self, x: str, name: str, factors: Floats | None = None) -> str:
        """LayerNormalization by the weights `name`, its result multiplied by `factors`."""
        gain, bias = self.weights[f"{name}.weight"], self.weights.get(f"{name}.bias")
        return norm(self.graph, x, gain, bias, name, self.config.epsilon, factors)
