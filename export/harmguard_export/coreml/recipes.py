"""The Core ML recipes and the gate that each has to pass, as data in `recipes.json`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from harmguard.errors import RecipeError
from harmguard_export.quantization.recipe import Limits

HEAD = ("pooler", "classifier")
"""Always fp16: they are small, and the score is read from them."""


@dataclass(frozen=True)
class CoremlRecipe:
    """A named way to store weights; arithmetic is in fp16 always."""

    name: str
    summary: str
    weights: str
    """One of `compress.WEIGHT_FORMATS`: linear layers, embeddings and position tables."""
    limits: Limits
    slack: float
    """What a golden score may differ by beside the recipe's own error, for other processors."""
    positions: str | None = None
    """How DeBERTa's position tables are stored for iOS 18, if otherwise (docs/decisions.md)."""


def _read(value: dict[str, Any]) -> CoremlRecipe:
    return CoremlRecipe(**{**value, "limits": Limits(**value["limits"])})


_DATA = files("harmguard_export.coreml") / "recipes.json"
_RECIPES = {value["name"]: _read(value) for value in json.loads(_DATA.read_text("utf-8"))}


def coreml_recipe(name: str) -> CoremlRecipe:
    """The recipe of that name; else RecipeError."""
    if name not in _RECIPES:
        raise RecipeError(
            f"recipe {name!a} for Core ML; expected one of {', '.join(_RECIPES)}; likely one for "
            "ONNX"
        )
    return _RECIPES[name]
