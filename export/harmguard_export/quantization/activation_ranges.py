"""What an encoder's layer inputs look like on the calibration texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from harmguard.checkpoint import Checkpoint
from harmguard.core.batch import Logits, Progress
from harmguard.core.encode import Window
from harmguard.runtime.heap import release_memory
from harmguard_export.families import LAYER_INPUTS, family_of
from harmguard_export.quantization.quantize import Floats

# Tokens kept of each layer's input, beside every text's first one, which the classifier reads;
# and numbers kept of all layers, 0.8 GB, so that a large model keeps fewer tokens.
_SAMPLE = 10240
_SAMPLE_FLOATS = 200_000_000


@dataclass(frozen=True)
class Activations:
    """One layer's input."""

    largest: Floats
    """Largest absolute value of each channel over all tokens, times the recipe's headroom."""
    sample: Floats
    """Some tokens [tokens, channels]."""


def calibrate(
    checkpoint: Checkpoint, windows: Sequence[Window], headroom: float, progress: Progress
) -> tuple[dict[str, Activations], Logits]:
    """Run an encoder over the windows: its layer inputs by name, and its logits.

    The names are "0.qkv", "0.o", "0.up", "0.down", "1.qkv" and so on.
    """
    config = checkpoint.config
    family = family_of(config)
    inner: Any = checkpoint.model.get_submodule(f"{family.stack}.0.{family.down}")
    wide = config.num_hidden_layers * (3 * config.hidden_size + inner.in_features)
    most = min(_SAMPLE, _SAMPLE_FLOATS // wide)
    stride = max(1, sum(len(window.ids) for window in windows) // most)
    kept = sum(1 + len(window.ids[1::stride]) for window in windows)
    samples: dict[str, Floats] = {}
    filled: dict[str, int] = {}
    largest: dict[str, torch.Tensor] = {}

    def watch(name: str) -> Callable[[Any, tuple[torch.Tensor, ...]], None]:
        def hook(_: Any, inputs: tuple[torch.Tensor, ...]) -> None:
            hidden = inputs[0]  # [texts, tokens, channels]
            found = hidden.abs().amax((0, 1))
            largest[name] = torch.maximum(largest.get(name, found), found)
            if name not in samples:
                # At once: pieces between a run's own tensors would keep gigabytes from the system.
                samples[name] = np.empty((kept, hidden.shape[2]), np.float32)
                filled[name] = 0
            for part in (hidden[:, :1], hidden[:, 1::stride]):
                rows = part.flatten(0, 1).numpy()
                samples[name][filled[name] : filled[name] + len(rows)] = rows
                filled[name] += len(rows)

        return hook

    layers = checkpoint.model.get_submodule(family.stack)
    # The value's input: DeBERTa also gives its relative positions to the query and the key.
    paths = {kind: family.modules(kind)[-1] for kind in LAYER_INPUTS}
    hooks = [
        layer.get_submodule(path).register_forward_pre_hook(watch(f"{number}.{kind}"))
        for number, layer in enumerate(layers.children())
        for kind, path in paths.items()
    ]
    try:
        logits = checkpoint.logits(windows, progress, padded=False)
    finally:
        for handle in hooks:
            handle.remove()
    release_memory()
    assert set(filled.values()) == {kept}
    found = {
        name: Activations((values.numpy() * headroom).astype(np.float32), samples[name])
        for name, values in largest.items()
    }
    return found, logits
