"""Recipes: what is stored and computed in which precision, as data in `recipes/*.json`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from importlib.resources import files
from pathlib import Path
from typing import Any

from harmguard.errors import RecipeError

LINEAR = ("fp32", "int8", "int4")
_LAYER = re.compile(r"(\*|[0-9]{1,3})\.(qkv|o|up|down)")
_MOST_BYTES = 1 << 20


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
    """"fp32", "int8" or "int4": the linear layers."""
    layers: Mapping[str, str]
    """Layer inputs that have another precision: "3.down", or "*.down" for every layer's.

    The inputs are qkv, o, up and down: of query, key and value, of the attention's output, and of
    the feed-forward's two layers.
    """
    reasons: Mapping[str, str]
    """Why, for some of `layers`."""
    embeddings: str
    """"fp32" or "int8" (a scale per row)."""
    headroom: float
    """How much wider than the calibration texts' maxima the activation ranges are."""
    limits: Limits

    def precision(self, name: str) -> str:
        """That of the layers whose input has this name, such as "0.qkv"."""
        kind = name.partition(".")[2]
        return self.layers.get(name, self.layers.get(f"*.{kind}", self.linear))

    @property
    def needs_activations(self) -> bool:
        """Some layer may be rounded, by what its input looks like."""
        return {self.linear, *self.layers.values()} != {"fp32"}

    def to_json(self) -> dict[str, Any]:
        """As a recipe file has it."""
        return asdict(self)


def load_recipe(name: str) -> Recipe:
    """The recipe of that name, or in that file if it ends in .json; else RecipeError."""
    if name.endswith(".json"):
        return _read(Path(name))
    folder = files("harmguard_export.quantization") / "recipes"
    known = sorted(f.name[:-5] for f in folder.iterdir() if f.name.endswith(".json"))
    if name not in known:
        raise RecipeError(
            f"recipe {name!a}; expected one of {', '.join(known)}, or a file that ends in .json; "
            "likely a typo"
        )
    return _recipe(json.loads((folder / f"{name}.json").read_text(encoding="utf-8")))


def _read(path: Path) -> Recipe:
    try:
        with path.open("rb") as file:
            value = json.loads(file.read(_MOST_BYTES))
    except FileNotFoundError:
        raise RecipeError(
            f"no recipe file {str(path)!a}; expected a JSON file; likely a wrong path"
        ) from None
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise RecipeError(
            f"recipe file {path.name!a} holds no JSON object; expected one of at most "
            f"{_MOST_BYTES:,} bytes; likely another kind of file"
        )
    return _recipe(value)


def _recipe(value: dict[str, Any]) -> Recipe:
    _check_fields(value, Recipe, "recipe")
    limits, layers = value["limits"], value["layers"]
    _check_fields(limits, Limits, "recipe: limits")
    for field, found in {**limits, "headroom": value["headroom"]}.items():
        if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found <= 10:
            raise RecipeError(f"recipe: {field} is {found!a}; expected a number from 0 to 10")
    if not isinstance(layers, dict) or not all(map(_LAYER.fullmatch, layers)):
        raise RecipeError(
            f"recipe: layers is {str(layers)[:80]!a}; expected names such as 3.down or *.qkv, each "
            f"with one of {', '.join(LINEAR)}"
        )
    choices = {"linear": LINEAR, "embeddings": ("fp32", "int8"), **dict.fromkeys(layers, LINEAR)}
    for field, allowed in choices.items():
        found = layers[field] if field in layers else value[field]
        if found not in allowed:
            raise RecipeError(
                f"recipe: {field} is {found!a}; expected {', '.join(allowed)}; likely a typo"
            )
    reasons = value["reasons"]
    if not isinstance(reasons, dict) or not reasons.keys() <= layers.keys():
        raise RecipeError("recipe: reasons is no object whose names are all in layers")
    for field, text in {**{n: value[n] for n in ("name", "summary")}, **reasons}.items():
        if not isinstance(text, str) or not 0 < len(text) <= 200 or not text.isprintable():
            raise RecipeError(f"recipe: the text of {field} has not 1 to 200 printable characters")
    return Recipe(**{**value, "limits": Limits(**limits)})


def _check_fields(value: Any, kind: type, name: str) -> None:
    expected = sorted(f.name for f in fields(kind))
    found = sorted(value) if isinstance(value, dict) else type(value).__name__
    if found != expected:
        raise RecipeError(f"{name} fields {found}; expected {expected}; likely a typo")
