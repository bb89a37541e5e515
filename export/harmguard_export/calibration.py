"""What a BERT's layer inputs look like on the calibration texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from harmguard._encode import Window
from harmguard_export.checkpoint import Checkpoint, Logits, Progress
from harmguard_export.quantize import Floats

# Tokens kept of each layer's input, beside every text's first one, which the classifier reads.
_SAMPLE = 10240
_INPUTS = {
    "qkv": "attention.self.query",
    "o": "attention.output.dense",
    "up": "intermediate.dense",
    "down": "output.dense",
}


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
    """Run a BERT over the windows: its layer inputs as `bert.py` names them, and its logits."""
    stride = max(1, sum(len(window.ids) for window in windows) // _SAMPLE)
    seen: dict[str, list[torch.Tensor]] = {}
    largest: dict[str, torch.Tensor] = {}

    def watch(name: str) -> Callable[[Any, tuple[torch.Tensor, ...]], None]:
        def hook(_: Any, inputs: tuple[torch.Tensor, ...]) -> None:
            hidden = inputs[0]  # [texts, tokens, channels]
            found = hidden.abs().amax((0, 1))
            largest[name] = torch.maximum(largest.get(name, found), found)
            seen.setdefault(name, []).extend(
                part.flatten(0, 1).clone() for part in (hidden[:, :1], hidden[:, 1::stride])
            )

        return hook

    layers = checkpoint.model.get_submodule("bert.encoder.layer")
    hooks = [
        layer.get_submodule(path).register_forward_pre_hook(watch(f"{number}.{kind}"))
        for number, layer in enumerate(layers.children())
        for kind, path in _INPUTS.items()
    ]
    try:
        logits = checkpoint.logits(windows, progress)
    finally:
        for handle in hooks:
            handle.remove()
    found = {
        name: Activations(
            (values.numpy() * headroom).astype(np.float32), torch.cat(seen[name]).numpy()
        )
        for name, values in largest.items()
    }
    return found, logits
