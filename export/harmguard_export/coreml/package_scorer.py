"""Logits of a saved package on this machine: what the parity gate and `verify` compare."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from harmguard.bundle import Bundle, load_tokenizer
from harmguard.bundle.coreml import Lengths
from harmguard.core.batch import Batch, Logits, Progress, pad, window_logits
from harmguard.core.encode import Encoded, PairEncoder, Window
from harmguard.core.scores import text_scores
from harmguard.errors import ProgramError
from harmguard_export.coreml.package import NAME
from harmguard_export.coreml.torch_program import Evaluator, read_program


def feeds(window: Window, names: Sequence[str], lengths: Lengths, pad_id: int) -> dict[str, Any]:
    """The program's int32 inputs [1, length] for a window."""
    return _feeds(pad([window], pad_id, lengths.padded), names)


def _feeds(batch: Batch, names: Sequence[str]) -> dict[str, Any]:
    arrays = {"input_ids": batch.ids, "attention_mask": batch.mask, "token_type_ids": batch.types}
    return {name: arrays[name].astype(np.int32) for name in names}


def program_logits(
    evaluator: Evaluator,
    encoded: Sequence[Encoded],
    lengths: Lengths,
    pad_id: int,
    progress: Progress,
) -> Logits:
    """Logits [windows, 2] of all windows in order.

    Raises ProgramError if one is not finite: no gate may let that pass.
    """
    windows = [window for e in encoded for window in e.windows]
    out = window_logits(
        windows,
        lambda batch, _: evaluator(_feeds(batch, evaluator.inputs)),
        pad_id=pad_id,
        padding=lengths.padded,
        batch_tokens=1,  # a program takes one window at a time
        progress=progress,
    )
    wrong = int((~np.isfinite(out).all(1)).sum())
    if wrong:
        arithmetic = "fp16" if evaluator.half else "float32"
        raise ProgramError(
            f"the program's logits of {wrong} of {len(windows)} windows are not finite in "
            f"{arithmetic}; expected finite ones; likely a mask or an activation beyond 65504, "
            "where fp16 ends"
        )
    return out


class PackageScorer:
    """Scores pairs with a bundle's package on this machine, in fp16."""

    def __init__(self, bundle: Bundle) -> None:
        """Read the package; ProgramError for operators that are not known."""
        self._bundle = bundle
        spec = bundle.manifest.input
        self._encoder = PairEncoder(
            load_tokenizer(bundle), spec.template, spec.max_tokens, spec.normalisation
        )
        self._evaluator = Evaluator(read_program(bundle.folder / NAME), half=True)

    def score(self, prompt: str, response: str | None = None) -> float:
        """P(harmful), of the highest window."""
        spec = self._bundle.manifest.input
        assert spec.lengths is not None
        encoded = self._encoder.encode(prompt, response)
        logits = program_logits(
            self._evaluator, [encoded], spec.lengths, spec.pad_id, lambda _: None
        )
        temperature = self._bundle.manifest.output.temperature
        return float(text_scores(logits, [len(encoded.windows)], temperature)[0])
