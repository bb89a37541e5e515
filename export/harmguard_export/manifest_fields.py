"""What a bundle says about itself: the manifest's fields and the model card."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from harmguard.bundle.spec import FORMAT_VERSION
from harmguard.checkpoint import Checkpoint
from harmguard.core.encode import NORMALISATION
from harmguard_export.graphs.writer import OPSET
from harmguard_export.quantization.recipe import Recipe

UNKNOWN = "unknown"
THRESHOLD = 0.5
LABELS = ["safe", "harmful"]
# Oldest onnxruntime that the graphs were run with, and the ceiling on a text's characters.
_ONNXRUNTIME = "1.20"
_MAX_CHARS = 200_000
_FEW = 3


def manifest_fields(
    checkpoint: Checkpoint,
    recipe: Recipe,
    left_out: Sequence[int],
) -> dict[str, Any]:
    """guard.json without its files; what the checkpoint does not say is unknown."""
    said = checkpoint.metadata
    labels = checkpoint.labels.record() if checkpoint.labels else None
    read = {key: said[key] for key in ("scripts", "languages") if isinstance(said.get(key), list)}
    training = said.get("training")
    training = training if isinstance(training, dict) else {}
    point = {"default": {"value": THRESHOLD, "set": None, "rule": "uncalibrated"}}
    return {
        "format_version": FORMAT_VERSION,
        "name": _name(str(said.get("name") or checkpoint.name)),
        "version": str(said.get("version") or "0"),
        "status": str(said.get("status") or "trial"),
        "licence": str(said.get("licence") or UNKNOWN),
        "base_model": str(said.get("base_model") or UNKNOWN),
        "training": {
            "data": training.get("data") or UNKNOWN,
            "recipe": str(training.get("recipe") or UNKNOWN),
        },
        "input": {
            "template": checkpoint.template.to_json(),
            "max_tokens": checkpoint.encoder.max_tokens,
            "pad_id": checkpoint.pad_id,
            "max_chars": _MAX_CHARS,
            "names": list(checkpoint.inputs),
            "dtype": "int64",
            "output": "logits",
            "normalisation": NORMALISATION,
        },
        "labels": LABELS,
        "output": {"kind": "logits", "temperature": 1.0},
        "thresholds": {"prompt": point, "exchange": point},
        "precision": {
            "recipe": recipe.name,
            "exceptions": [
                f"{layer}: {kind}"
                + (f" ({recipe.reasons[layer]})" if layer in recipe.reasons else "")
                for layer, kind in recipe.layers.items()
            ],
            "parity": None,
        },
        "requires": {"runtime": "onnxruntime", "opset": OPSET, "onnxruntime": _ONNXRUNTIME},
        "metrics": read,
        **({"x_checkpoint": checkpoint.source} if checkpoint.source else {}),
        **({"x_labels": labels} if labels else {}),
        **({"x_limits": str(said["limits"])} if said.get("limits") else {}),
        **({"x_golden_left_out": list(left_out)} if left_out else {}),
    }


def model_card(
    manifest: Mapping[str, Any], recipe: Recipe, report: str, left_out: Sequence[tuple[int, int]]
) -> str:
    """README.md of the bundle. `left_out`: line and tokens of golden pairs that do not fit."""
    data = manifest["training"]["data"]
    if data == UNKNOWN:
        table = "Unknown: the checkpoint does not say.\n"
    else:
        rows = "".join(f"| {d['source']} | {d['licence']} | {d['rows']} |\n" for d in data)
        table = f"| source | licence | rows |\n|---|---|---|\n{rows}"
    languages = _languages(manifest["metrics"].get("languages"))
    limits = f"\n## Limits\n\n{manifest['x_limits']}\n" if "x_limits" in manifest else ""
    skipped = ""
    if left_out:
        listed = ", ".join(f"{line} ({tokens} tokens)" for line, tokens in left_out)
        skipped = (
            "\nGolden pairs left out, because they are far longer than the model's "
            f"{manifest['input']['max_tokens']} positions, by line: {listed}.\n"
        )
    return f"""\
# {manifest["name"]} {manifest["version"]}

Scores the harm of a prompt, or of a prompt and its response, from 0 to 1.

- status: {manifest["status"]}
- licence: {manifest["licence"]}
- base model: {manifest["base_model"]}
- training recipe: {manifest["training"]["recipe"]}
- input: at most {manifest["input"]["max_tokens"]} tokens at once; longer texts in windows
- precision: {recipe.name} ({recipe.summary})

## Training data

{table}{languages}{limits}
## Calibration

None: temperature 1, threshold {THRESHOLD}.

## Parity

```
{report}
```
{skipped}"""


def _languages(found: object) -> str:
    """A section on the languages of the training rows, or nothing where they are not known."""
    if not isinstance(found, list) or not found:
        return ""
    rows = "".join(
        f"| {one['lang'] or 'not given'} | {one['rows']} | {one['harmful']} | "
        f"{_sources(one['harmful_sources'])} |\n"
        for one in found
    )
    return f"""
## Languages

Of the training rows. No other language was seen.

| language | rows | harmful | sources of harmful rows |
|---|---|---|---|
{rows}"""


def _sources(names: Sequence[str]) -> str:
    """The names of a few sources, or how many there are."""
    return str(len(names)) if len(names) > _FEW else ", ".join(names) or "none"


def _name(text: str) -> str:
    """A name as the manifest allows it."""
    plain = re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("._-")
    return plain[:64] or "guard"
