"""Logits of a saved package on this machine: what the parity gate and `verify` compare."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from harmguard._coreml_manifest import Lengths
from harmguard._encode import Encoded, PairEncoder, Window
from harmguard.bundle import Bundle, load_tokenizer
from harmguard.errors import ProgramError
from harmguard_export.checkpoint import Logits, Progress
from harmguard_export.coreml.evaluate import Evaluator, read_program
from harmguard_export.coreml.package import NAME


def feeds(window: Window, names: Sequence[str], lengths: Lengths, pad_id: int) -> dict[str, Any]:
    """The program's int32 inputs [1, length] for a window."""
    count = len(window.ids)
    shape = (1, lengths.padded(count))
    found = {name: np.zeros(shape, np.int32) for name in names}
    found["input_ids"][:] = pad_id
    found["input_ids"][0, :count] = window.ids
    found["attention_mask"][0, :count] = 1
    if "token_type_ids" in found:
        found["token_type_ids"][0, :count] = window.types
    return found


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
    out = np.zeros((len(windows), 2), np.float32)
    for number, window in enumerate(windows):
        out[number] = evaluator(feeds(window, evaluator.inputs, lengths, pad_id))[0]
        progress(1)
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
        self._encoder = PairEncoder(load_tokenizer(bundle), spec.template, spec.max_tokens)
        self._evaluator = Evaluator(read_program(bundle.folder / NAME), half=True)

    def score(self, prompt: str, response: str | None = None) -> float:
        """P(harmful), of the highest window."""
        spec = self._bundle.manifest.input
        assert spec.lengths is not None
        encoded = [self._encoder.encode(prompt, response)]
        logits = program_logits(
            self._evaluator, encoded, spec.lengths, spec.pad_id, lambda _: None
        ).astype(np.float64)
        margin = (logits[:, 1] - logits[:, 0]) / self._bundle.manifest.output.temperature
        return float(((1 + np.tanh(margin / 2)) / 2).max())
