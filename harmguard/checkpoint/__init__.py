"""A Hugging Face folder as a guard in torch: the one reader of eval, label, distill and export.

What can be wrong with a folder is decided here once, as CheckpointError: which label is harmful
(`labels`), what the head is (`head`), positions and token types (`family`), the tokenizer, the
weights and any code beside them (`folder`). Needs torch and transformers.
"""

from __future__ import annotations

from harmguard.extras import require

require("a checkpoint", "torch", "transformers", extra="train")

from harmguard.checkpoint.checkpoint import (  # noqa: E402
    Checkpoint,
    load_checkpoint,
    load_student,
)
from harmguard.checkpoint.family import INPUTS  # noqa: E402
from harmguard.checkpoint.folder import METADATA_FILE, read_metadata  # noqa: E402
from harmguard.checkpoint.hub import fetch, is_hub, local, located  # noqa: E402

__all__ = [
    "INPUTS",
    "METADATA_FILE",
    "Checkpoint",
    "fetch",
    "is_hub",
    "load_checkpoint",
    "load_student",
    "local",
    "located",
    "read_metadata",
]
