"""Training: distil a student guard, evaluate and calibrate it. Needs the extra `[train]`."""

from __future__ import annotations

from harmguard.extras import require

require(
    "harmguard.training",
    *("accelerate", "matplotlib", "sklearn", "torch", "tqdm", "transformers"),
    extra="train",
)
