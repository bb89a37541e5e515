"""Activation outliers for a DeBERTa: a few channels of its LayerNorms 20 to 100 times larger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

FACTORS = (20.0, 30.0, 40.0, 60.0, 80.0, 100.0)
CHANNELS = dict(zip((17, 71, 139, 202, 290, 355), FACTORS, strict=True))
"""Channel -> factor, where no channel is better than another: in random weights."""


def scale_layer_norms(model: Any, factors: Mapping[int, float]) -> None:
    """Scale channels of both LayerNorms of every layer but the last layer's output, in place.

    What reads a LayerNorm's output takes the scaled channels' columns down again, so that only the
    residual sees them.
    """
    layers = model.deberta.encoder.layer
    with torch.no_grad():
        for index, layer in enumerate(layers):
            _scale(layer.attention.output.LayerNorm, [layer.intermediate.dense], factors)
            if index + 1 < len(layers):
                after = layers[index + 1].attention.self
                readers = [after.query_proj, after.key_proj, after.value_proj]
                _scale(layer.output.LayerNorm, readers, factors)


def _scale(norm: Any, readers: Sequence[Any], factors: Mapping[int, float]) -> None:
    channels, scale = torch.tensor(list(factors)), torch.tensor(list(factors.values()))
    norm.weight[channels] *= scale
    norm.bias[channels] *= scale
    for linear in readers:
        linear.weight[:, channels] /= scale
