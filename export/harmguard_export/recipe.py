"""Recipes: what is stored and computed in which precision, as data in `recipes/*.json`."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from importlib.resources import files
from typing import Any

from harmguard.errors import RecipeError


@dataclass(frozen=True)
class Limits:
    """What the parity gate allows, against the checkpoint in float32. Shares are of 1."""

    mean_score_error: float
    p99_score_error: float
    logit_rms_error: float
    """RMS error of the logit difference, as a share of its standard deviation."""
    flipped: float
    """Share of decisions at the threshold that change."""
    flipped_distance: float
    """How far from the threshold the reference score of a changed decision may be."""
    auprc_drop: float
    """Only measured on pairs that have labels."""


@dataclass(frozen=True)
class Recipe:
    """A named quantisation and the gate it has to pass."""

    name: str
    summary: str
    linear: str
    """"fp32" or "int8": the linear layers."""
    embeddings: str
    """"fp32" or "int8" (a scale per row)."""
    headroom: float
    """How much wider than the calibration texts' maxima the activation ranges are."""
    limits: Limits


def load_recipe(name: str) -> Recipe:
    """The recipe of that name; RecipeError with the known names for any other."""
    folder = files("harmguard_export") / "recipes"
    known = sorted(f.name[:-5] for f in folder.iterdir() if f.name.endswith(".json"))
    if name not in known:
        raise RecipeError(f"recipe {name!a}; expected one of {', '.join(known)}; likely a typo")
    return _recipe(json.loads((folder / f"{name}.json").read_text(encoding="utf-8")))


def _recipe(value: dict[str, Any]) -> Recipe:
    expected = sorted(f.name for f in fields(Recipe))
    if sorted(value) != expected:
        raise RecipeError(f"recipe fields {sorted(value)}; expected {expected}; likely a typo")
    for field in ("linear", "embeddings"):
        if value[field] not in ("fp32", "int8"):
            raise RecipeError(f"recipe: {field} is {value[field]!a}; expected fp32 or int8")
    return Recipe(**{**value, "limits": Limits(**value["limits"])})
