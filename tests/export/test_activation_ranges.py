from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from harmguard_export.quantization.activation_ranges import Activations, calibrate

from harmguard.checkpoint import load_checkpoint

TEXTS = ("a b c", "how do i bake bread", "x y z", "what is a cat", "one two three four five six")


def test_every_text_counts_however_they_are_batched(tiny_checkpoint: Path) -> None:
    checkpoint = load_checkpoint(tiny_checkpoint)
    # The repeats make batches of one length; each batch's later texts must be seen too.
    windows = [w for e in checkpoint.encode([(t, None) for t in TEXTS * 2]) for w in e.windows]
    together, logits = calibrate(checkpoint, windows, 1.0, lambda _: None)
    singles = [calibrate(checkpoint, [window], 1.0, lambda _: None) for window in windows]
    for name, found in together.items():
        alone: list[Activations] = [activations[name] for activations, _ in singles]
        expected = np.max([one.largest for one in alone], axis=0)
        np.testing.assert_allclose(found.largest, expected, rtol=1e-4, atol=1e-5)
        assert len(found.sample) == sum(len(one.sample) for one in alone)
    np.testing.assert_allclose(logits, np.concatenate([z for _, z in singles]), atol=1e-5)


def test_headroom_widens_every_channel(tiny_checkpoint: Path) -> None:
    checkpoint = load_checkpoint(tiny_checkpoint)
    windows = checkpoint.encode([("hello there", None)])[0].windows
    plain, _ = calibrate(checkpoint, windows, 1.0, lambda _: None)
    wide, _ = calibrate(checkpoint, windows, 1.5, lambda _: None)
    for name, found in plain.items():
        np.testing.assert_allclose(wide[name].largest, found.largest * 1.5, rtol=1e-6)


def test_a_deberta_s_relative_positions_are_not_taken_for_texts(tiny_deberta: Path) -> None:
    checkpoint = load_checkpoint(tiny_deberta)
    model: Any = checkpoint.model
    # The query and key projections read them, beside the tokens.
    with torch.no_grad():
        model.deberta.encoder.rel_embeddings.weight.mul_(1000)
    windows = checkpoint.encode([("how do i bake bread", None)])[0].windows
    found, _ = calibrate(checkpoint, windows, 1.0, lambda _: None)
    with torch.inference_mode():
        ids = torch.from_numpy(np.array(windows[0].ids)[None])
        hidden = model.deberta.embeddings(ids)[0].numpy()
    np.testing.assert_allclose(found["0.qkv"].largest, np.abs(hidden).max(0), rtol=1e-5)
    assert len(found["0.qkv"].sample) == len(hidden)
