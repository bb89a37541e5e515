"""The Core ML recipes and the gate that each has to pass."""

from __future__ import annotations

from dataclasses import dataclass

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
    """How DeBERTa's position tables are stored for iOS 18, if otherwise."""


_FOUR_BITS = Limits(
    mean_score_error=0.03,
    p99_score_error=0.15,
    logit_rms_error=0.15,
    flipped=0.05,
    flipped_distance=0.25,
    auprc_drop=0.01,
)
_RECIPES = (
    CoremlRecipe(
        "fp16",
        "fp16 weights",
        "fp16",
        Limits(
            mean_score_error=0.002,
            p99_score_error=0.01,
            logit_rms_error=0.01,
            flipped=0.005,
            flipped_distance=0.02,
            auprc_drop=0.001,
        ),
        0.01,
    ),
    CoremlRecipe(
        "int8",
        "int8 weights, a scale per output channel",
        "int8",
        Limits(
            mean_score_error=0.01,
            p99_score_error=0.05,
            logit_rms_error=0.05,
            flipped=0.015,
            flipped_distance=0.1,
            auprc_drop=0.003,
        ),
        0.01,
        # Half the bytes, and no larger score error (docs/decisions.md).
        positions="palette4",
    ),
    CoremlRecipe("int4", "int4 weights, a scale per 32 inputs", "int4", _FOUR_BITS, 0.01),
    CoremlRecipe("palette4", "4-bit indices into tables of 16", "palette4", _FOUR_BITS, 0.01),
)
NAMES = tuple(recipe.name for recipe in _RECIPES)


def coreml_recipe(name: str) -> CoremlRecipe:
    """The recipe of that name; else RecipeError."""
    for recipe in _RECIPES:
        if recipe.name == name:
            return recipe
    raise RecipeError(
        f"recipe {name!a} for Core ML; expected one of {', '.join(NAMES)}; likely one for ONNX"
    )
