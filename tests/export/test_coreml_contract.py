"""The worked example in docs/bundle-format.md, computed again."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("coremltools")

from harmguard_export.coreml import export_coreml
from harmguard_export.coreml.torch_program import Evaluator, read_program

from harmguard.bundle import load_tokenizer, open_bundle
from harmguard.core.encode import PairEncoder

PAGE = Path(__file__).parents[2] / "docs" / "bundle-format.md"
PROMPT, RESPONSE = "how do i bake bread", "with fresh milk"


def example(folder: Path) -> dict[str, Any]:
    """Every step from the texts to the verdict, as the page has it."""
    bundle = open_bundle(folder)
    spec, thresholds = bundle.manifest.input, bundle.manifest.thresholds
    encoder = PairEncoder(load_tokenizer(bundle), spec.template, spec.max_tokens)
    [window] = encoder.encode(PROMPT, RESPONSE).windows
    assert spec.lengths is not None
    count, length = len(window.ids), spec.lengths.padded(len(window.ids))
    rest = [0] * (length - count)
    arrays = {
        "input_ids": [*window.ids.tolist(), *[spec.pad_id] * len(rest)],
        "attention_mask": [*[1] * count, *rest],
        "token_type_ids": [*window.types.tolist(), *rest],
    }
    evaluator = Evaluator(read_program(folder / "model.mlpackage"), half=True)
    feeds = {name: np.array([arrays[name]], np.int32) for name in spec.names}
    logits = evaluator(feeds)[0].astype(np.float64) / bundle.manifest.output.temperature
    score = float(1 / (1 + np.exp(logits[0] - logits[1])))
    threshold = thresholds["exchange"]["default"].value
    return {
        "prompt": PROMPT,
        "response": RESPONSE,
        "ids": window.ids.tolist(),
        "length": length,
        **arrays,
        "logits": [round(float(value), 3) for value in logits],
        "temperature": bundle.manifest.output.temperature,
        "score": round(score, 3),
        "threshold": threshold,
        "harmful": score >= threshold,
    }


def test_the_worked_example_is_what_the_bundle_gives(tiny_checkpoint: Path, tmp_path: Path) -> None:
    found = example(export_coreml(tiny_checkpoint, tmp_path / "bundle", recipe="fp16"))
    text = PAGE.read_text(encoding="utf-8").split("### A worked example", 1)[1]
    block = re.search(r"```json\n(.*?)```", text, re.S)
    assert block is not None
    written = json.loads(block[1])
    for name in ("logits", "score"):
        np.testing.assert_allclose(written.pop(name), found.pop(name), atol=0.02)
    assert written == found
