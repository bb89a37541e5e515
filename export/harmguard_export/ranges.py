"""How far each channel of a BERT's layer inputs goes on the calibration texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from harmguard._encode import Window
from harmguard_export.checkpoint import Checkpoint, Logits, Progress
from harmguard_export.quantize import Floats


def measure_ranges(
    checkpoint: Checkpoint, windows: Sequence[Window], headroom: float, progress: Progress
) -> tuple[dict[str, Floats], Logits]:
    """Largest absolute value of every channel, times `headroom`, and the windows' logits.

    The names are `bert.layer_inputs`. Of the last layer only the first token counts, for the
    graph computes no other.
    """
    largest: dict[str, torch.Tensor] = {}

    def watch(name: str, first_only: bool) -> Callable[[Any, tuple[torch.Tensor, ...]], None]:
        def hook(_: Any, inputs: tuple[torch.Tensor, ...]) -> None:
            hidden = inputs[0][:, :1] if first_only else inputs[0]
            found = hidden.abs().amax((0, 1))
            largest[name] = torch.maximum(largest.get(name, found), found)

        return hook

    layers = checkpoint.model.get_submodule("bert.encoder.layer")
    last = len(list(layers.children())) - 1
    hooks = []
    for number, layer in enumerate(layers.children()):
        modules = {
            "qkv": "attention.self.query",
            "o": "attention.output.dense",
            "up": "intermediate.dense",
            "down": "output.dense",
        }
        for kind, path in modules.items():
            module = layer.get_submodule(path)
            hook = watch(f"{number}.{kind}", number == last and kind != "qkv")
            hooks.append(module.register_forward_pre_hook(hook))
    try:
        logits = checkpoint.logits(windows, progress)
    finally:
        for handle in hooks:
            handle.remove()
    ranges = {n: (v.numpy() * np.float32(headroom)).astype(np.float32) for n, v in largest.items()}
    return ranges, logits
