"""Freezing the lower part of a student: its steps are cheaper, and what it knows stays."""

from __future__ import annotations

import re

import torch

from harmguard.errors import ConfigError

_LAYER = re.compile(r"\.layers?\.(\d+)\.")
# What every layer reads: trained, its gradient would need the backward pass of all of them.
_SHARED = re.compile(
    r"\.(?:embeddings|embeddings_project|rel_embeddings|relative_attention_bias)\."
    r"|\.encoder\.LayerNorm\."
)


def freeze(model: torch.nn.Module, layers: int) -> None:
    """Keep the embeddings and the lowest `layers` layers as they are; 0 freezes nothing.

    Raises ConfigError where the model has no more layers than that.
    """
    if not layers:
        return
    numbered = {
        name: found for name, _ in model.named_parameters() if (found := _LAYER.search(name))
    }
    count = 1 + max((int(found[1]) for found in numbered.values()), default=-1)
    if count <= layers:
        raise ConfigError(
            f"student.frozen_layers is {layers}; expected fewer than the student's {count} layers"
        )
    for name, parameter in model.named_parameters():
        layer = numbered.get(name)
        if int(layer[1]) < layers if layer else _SHARED.search(name):
            parameter.requires_grad_(False)
