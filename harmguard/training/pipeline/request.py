"""What a stage is asked for: what decides its rows, and what its manifest keeps beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
import transformers

import harmguard
from harmguard.training.inputs import described
from harmguard.training.pipeline.recipe import Recipe


def request_of(
    recipe: Recipe, stage: str, inputs: Sequence[str], models: dict[str, Any]
) -> dict[str, Any]:
    """The request of `stage` on the files `inputs`; `models` says which models, by `identity`.

    Raises DataError when a file is missing.
    """
    return {
        "stage": stage,
        **recipe.section(stage),
        "inputs": described(inputs),
        **models,
        **_numerics(recipe, stage),
        "made_with": {
            "engine": asdict(recipe.engine),
            "harmguard": harmguard.__version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }


def _numerics(recipe: Recipe, stage: str) -> dict[str, Any]:
    """Block and number type, where a row's result depends on them.

    Padding to a block's longest row reaches the last bits of a logit, and with them a draw or
    a label; so does the type. A server pads as it likes, but rounds of generation are whole
    blocks. Teachers that are no causal model run in a type of their own.
    """
    engine = recipe.engine
    causal = stage != "label" or recipe.label.kind == "causal"
    if engine.kind == "openai" and causal:
        return {"block_rows": engine.block_rows} if stage == "generate" else {}
    gpu = engine.gpus > 0 if engine.kind == "ray" else torch.cuda.is_available()
    dtype = {"dtype": "bfloat16" if gpu else "float32"} if causal else {}
    return {"block_rows": engine.block_rows, **dtype}
