"""What a stage is asked for: what decides its rows, and what its manifest keeps beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
import transformers

import harmguard
from harmguard.training.harmaug.engines.local import narrow
from harmguard.training.harmaug.plan import Plan
from harmguard.training.stage_inputs import described


def request_of(
    plan: Plan, stage: str, inputs: Sequence[str], models: dict[str, Any]
) -> dict[str, Any]:
    """The request of `stage` on the files `inputs`; `models` says which models, by `identity`.

    Raises DataError when a file is missing.
    """
    return {
        "stage": stage,
        **plan.section(stage),
        "inputs": described(inputs),
        **models,
        **_numerics(plan, stage),
        "made_with": {
            "engine": asdict(plan.engine),
            "harmguard": harmguard.__version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }


def _numerics(plan: Plan, stage: str) -> dict[str, Any]:
    """Block and number type, where a row's result depends on them.

    Padding to a block's longest row reaches the last bits of a logit, and with them a draw or
    a label; so does the type. A server pads as it likes, but rounds of generation are whole
    blocks. Teachers that are no causal model run in a type of their own.
    """
    engine = plan.engine
    causal = stage != "label" or plan.label.kind == "causal"
    if engine.kind == "openai" and causal:
        return {"block_rows": engine.block_rows} if stage == "generate" else {}
    dtype = {"dtype": "bfloat16" if narrow(engine) else "float32"} if causal else {}
    return {"block_rows": engine.block_rows, **dtype}
