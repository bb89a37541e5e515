"""Which layers a recipe must spare: each rounded alone, then the worst promoted until it passes."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from harmguard.checkpoint import Checkpoint, load_checkpoint
from harmguard.core.batch import Logits
from harmguard.core.encode import Window
from harmguard.core.files import new_folder, refuse_existing, work_folder
from harmguard.core.scores import margins
from harmguard.errors import ParityError, RecipeError
from harmguard.extras import require
from harmguard_export import parity
from harmguard_export.exporter import OnnxExporter, Run, read_any, windows_of
from harmguard_export.families import FAMILIES, family_of
from harmguard_export.pairs import read_pairs
from harmguard_export.quantization.activation_ranges import Activations
from harmguard_export.quantization.channel_scaling import choose_scaling, rounded_weight
from harmguard_export.quantization.recipe import Recipe, load_recipe

# Tokens that each layer is tried on; the gate sees all of them.
_TOKENS = 1024
_UP = {"int4": "int8", "int8": "fp32"}


def find_recipe(
    checkpoint: Path, out: Path, *, recipe: str = "int8", pairs: Path | None = None
) -> Path:
    """Write recipe.json, sensitivity.json and sensitivity.png into the new folder `out`.

    The error of a layer is the RMS error of the logits, as a share of their standard deviation,
    when it alone is rounded. Layers are promoted one step, worst first, twice as many at each
    try. Raises ParityError if not even all of them in fp32 pass, and what `export` raises.
    """
    require("the picture", "matplotlib", extra="export")
    refuse_existing(out)
    chosen = load_recipe(recipe)
    loaded = load_checkpoint(checkpoint)
    if not chosen.needs_activations:
        raise RecipeError(
            f"recipe {chosen.name!a} rounds no layer; expected one that does; likely a mix-up of "
            "recipes"
        )
    own = read_pairs(None)
    texts = read_pairs(pairs) if pairs else own
    with work_folder(out) as aside:
        search = _Search(loaded, chosen, aside)
        encoded = loaded.encode(own.pairs)
        silent = OnnxExporter(loaded, chosen, aside)
        # As the export does: the package's pairs calibrate, the given ones are for the gate alone.
        logits, activations = silent.reference(encoded, lambda _: None)
        assert activations is not None
        if pairs:
            encoded = loaded.encode(texts.pairs)
            logits = loaded.logits(windows_of(encoded), lambda _: None)
        errors = search.errors(windows_of(encoded), logits, activations)
        found, tries = search.promote(
            Run(texts.pairs, encoded, logits), activations, errors, texts.labels
        )
        recipe_json = {**found.to_json(), "name": f"{chosen.name}-promoted"[:64]}
        rows = [
            {"layer": n, "precision": chosen.precision(n), "used": found.precision(n), "error": e}
            for n, e in errors.items()
        ]
    with new_folder(out) as report:
        _write(report / "recipe.json", recipe_json)
        _write(report / "sensitivity.json", {"recipe": chosen.name, "layers": rows, "tries": tries})
        _draw(report / "sensitivity.png", errors, chosen, found)
    return out


@dataclass(frozen=True)
class _Search:
    checkpoint: Checkpoint
    recipe: Recipe
    aside: Path

    def errors(
        self, windows: Sequence[Window], logits: Logits, activations: Mapping[str, Activations]
    ) -> dict[str, float]:
        """Error of the logits with one layer rounded, by the name of its input."""
        few = _some(windows)
        exact = margins(logits)
        spread = max(float(exact.std()), parity.LEAST_SPREAD)
        found = {}
        config = self.checkpoint.config
        # A BERT-like encoder's last queries, keys and values are never rounded.
        exempt = f"{config.num_hidden_layers - 1}.qkv" if config.model_type in FAMILIES else ""
        for name, seen in tqdm(activations.items(), desc="layers", file=sys.stderr):
            precision = self.recipe.precision(name)
            if precision == "fp32" or name == exempt:
                continue
            with self._rounded(name, seen, precision):
                rounded = self.checkpoint.logits([windows[i] for i in few], lambda _: None)
            moved = margins(rounded) - exact[few]
            found[name] = float(np.sqrt((moved**2).mean())) / spread
        return found

    @contextmanager
    def _rounded(self, name: str, seen: Activations, precision: str) -> Iterator[None]:
        """The checkpoint with the layers of one input rounded, to the nearest."""
        number, kind = name.split(".")
        config = self.checkpoint.config
        family = family_of(config)
        layer = self.checkpoint.model.get_submodule(f"{family.stack}.{number}")
        linears: list[Any] = [layer.get_submodule(path) for path in family.modules(kind)]
        kept = [linear.weight.detach().clone() for linear in linears]
        weight = torch.cat(kept).numpy().T
        positive = kind == "down" and read_any(config).positive and precision == "int8"
        division = choose_scaling(seen, weight, precision, positive)
        few, factors = division.outliers, np.where(division.factors == 0, 1, division.factors)

        def hook(_: Any, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
            x = inputs[0].numpy().reshape(-1, len(factors))
            seen_by_layer = division.inputs(x) / factors
            seen_by_layer[:, few] = x[:, few]
            return (torch.from_numpy(seen_by_layer.astype(np.float32)).view_as(inputs[0]),)

        handles = [linear.register_forward_pre_hook(hook) for linear in linears]
        try:
            for linear, exact in zip(linears, kept, strict=True):
                rounded = rounded_weight(division.weight(exact.numpy().T), precision)
                rounded = rounded * factors[:, None]
                rounded[few] = exact.numpy().T[few]
                linear.weight.data = torch.from_numpy(rounded.T.astype(np.float32).copy())
            yield
        finally:
            for handle, linear, exact in zip(handles, linears, kept, strict=True):
                handle.remove()
                linear.weight.data = exact

    def promote(
        self,
        reference: Run,
        activations: dict[str, Activations],
        errors: Mapping[str, float],
        labels: Any,
    ) -> tuple[Recipe, list[dict[str, Any]]]:
        """The recipe with the fewest promotions tried that passes, and all tries."""
        worst = sorted(errors, key=lambda name: -errors[name])
        recipe, count = self.recipe, 0
        tries: list[dict[str, Any]] = []
        while True:
            folder = self.aside / str(len(tries))
            folder.mkdir()
            exporter = OnnxExporter(self.checkpoint, recipe, folder)
            _, measured = exporter.drafted(
                reference, activations, reference, labels, lambda _: None
            )
            missed = measured.missed(recipe.limits)
            tries.append({"layers": dict(recipe.layers), "missed": missed, **measured.to_json()})
            sys.stderr.write(f"{count} promotions: missed {', '.join(missed) or 'nothing'}\n")
            if not missed:
                return recipe, tries
            if count >= sum(_steps(self.recipe.precision(name)) for name in worst):
                raise ParityError(
                    f"{', '.join(missed)} above the limit with every layer in fp32; expected a "
                    "promotion to help; likely embeddings that 8 bits do not hold"
                )
            count = 2 * count or 1
            recipe = _promoted(self.recipe, worst, errors, count)


def _some(windows: Sequence[Window]) -> list[int]:
    """Indices of windows, spread over all, of about _TOKENS tokens."""
    total = sum(len(window.ids) for window in windows)
    step = max(1, total // _TOKENS)
    return list(range(0, len(windows), step))


def _steps(precision: str) -> int:
    return {"fp32": 0, "int8": 1, "int4": 2}[precision]


def _promoted(
    recipe: Recipe, worst: Sequence[str], errors: Mapping[str, float], count: int
) -> Recipe:
    """`recipe` with `count` steps up: the worst first, and all once before any of them twice."""
    layers, reasons = dict(recipe.layers), dict(recipe.reasons)
    for name in [*worst, *worst]:
        precision = replace(recipe, layers=layers).precision(name)
        if count > 0 and precision in _UP:
            layers[name] = _UP[precision]
            reasons[name] = f"alone it moves the logits by {errors[name]:.4f} of their deviation"
            count -= 1
    return replace(recipe, layers=layers, reasons=reasons)


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def _draw(path: Path, errors: Mapping[str, float], before: Recipe, after: Recipe) -> None:
    """A line per kind of layer over the depth; promoted layers are ringed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    styles = {
        "qkv": ("#0b5fa5", "-"),
        "o": ("#b3470a", "--"),
        "up": ("#2e7d32", "-."),
        "down": ("#6a1b9a", ":"),
    }
    for kind, (colour, line) in styles.items():
        points = {int(n.split(".")[0]): e for n, e in errors.items() if n.endswith(f".{kind}")}
        axes.plot(
            list(points), list(points.values()), line, color=colour, marker="o", ms=3, label=kind
        )
        ringed = [
            d for d in points if before.precision(f"{d}.{kind}") != after.precision(f"{d}.{kind}")
        ]
        axes.plot(ringed, [points[d] for d in ringed], "o", ms=11, mfc="none", mec=colour)
    axes.set_yscale("log")
    axes.set_xlabel("layer")
    axes.set_ylabel("RMS error of the logits / their deviation")
    axes.set_title(f"{before.name}: one layer rounded at a time; ringed: promoted")
    axes.legend()
    figure.savefig(path, dpi=144, facecolor="white", metadata={"Software": None})
