"""Activation outliers for a DeBERTa: a few channels of its LayerNorms 20 to 100 times larger."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

CHANNELS = {17: 20.0, 71: 30.0, 139: 40.0, 202: 60.0, 290: 80.0, 355: 100.0}  # channel -> factor


def scale_layer_norms(model: Any) -> None:
    """Scale CHANNELS of both LayerNorms of every layer but the last layer's output, in place.

    What reads a LayerNorm's output takes the scaled channels' columns down again, so that only the
    residual sees them.
    """
    layers = model.deberta.encoder.layer
    with torch.no_grad():
        for index, layer in enumerate(layers):
            _scale(layer.attention.output.LayerNorm, [layer.intermediate.dense])
            if index + 1 < len(layers):
                after = layers[index + 1].attention.self
                _scale(layer.output.LayerNorm, [after.query_proj, after.key_proj, after.value_proj])


def _scale(norm: Any, readers: Sequence[Any]) -> None:
    channels, factors = torch.tensor(list(CHANNELS)), torch.tensor(list(CHANNELS.values()))
    norm.weight[channels] *= factors
    norm.bias[channels] *= factors
    for linear in readers:
        linear.weight[:, channels] /= factors
