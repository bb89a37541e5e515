"""A checkpoint's config and model by transformers: every failure becomes a CheckpointError."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import (
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    AutoConfig,
    AutoModelForSequenceClassification,
)

from harmguard.checkpoint.quiet import quiet
from harmguard.errors import CheckpointError, HarmGuardError


def load_config(folder: Path, raw: dict[str, Any]) -> Any:
    """The config as transformers has it, of the values `raw` of config.json."""
    kind = raw.get("model_type")
    if not isinstance(kind, str):
        raise CheckpointError(
            "config.json names no model_type; expected one, as transformers saves it; likely "
            "another library's model"
        )
    if kind not in transformers.CONFIG_MAPPING:
        raise CheckpointError(
            f"model_type {kind[:40]!a} is unknown to transformers {transformers.__version__}; "
            "expected a family that it has; likely a newer or a custom architecture"
        )
    with _own_errors(folder):
        config = AutoConfig.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False
        )
    if type(config) not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
        raise CheckpointError(
            f"transformers has no sequence classifier of model_type {kind!a}; expected a family "
            "with one; likely a model for another task"
        )
    return config


def load_model(
    folder: Path, config: Any, *, new_head: bool = False
) -> tuple[Any, list[str], list[str]]:
    """The classifier in float32, and tensors that are new: the folder lacks them, or their shape.

    The shape of a head may differ with `new_head`. Raises CheckpointError for other shapes
    elsewhere, and for weights that are not finite.
    """
    with _own_errors(folder):
        model, loaded = AutoModelForSequenceClassification.from_pretrained(
            str(folder),
            config=config,
            dtype=torch.float32,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=new_head,
        )
    prefix = f"{model.base_model_prefix}."
    other = sorted(str(entry[0]) for entry in loaded["mismatched_keys"])
    if wrong := [name for name in other if name.startswith(prefix)]:
        raise CheckpointError(
            f"{folder.name} has {wrong[0]} in another shape than its config says; expected the "
            "same; likely an altered config"
        )
    lacking = sorted(map(str, loaded["missing_keys"]))
    for key, tensor in model.state_dict().items():
        known = key not in lacking and key not in other
        if known and tensor.is_floating_point() and not tensor.isfinite().all():
            raise CheckpointError(
                f"{folder.name}: {key} holds NaN or infinity; expected finite weights; likely a "
                "training that diverged, or a conversion to float16 that overflowed"
            )
    return model, [name for name in lacking if name not in other], other


@contextmanager
def _own_errors(folder: Path) -> Iterator[None]:
    """Loading fails in many ways: missing shards, wrong shapes, odd values in a config."""
    try:
        with quiet():
            yield
    except HarmGuardError:
        raise
    except Exception as error:  # transformers' share no base
        reason = str(error).strip().partition("\n")[0][:200]
        raise CheckpointError(
            f"{folder.name} cannot be loaded ({type(error).__name__}: {reason}); expected a whole "
            "sequence classification checkpoint; likely a missing part or an altered config"
        ) from None
