"""benchmarks.checkpoints.rebuilt: the shipped guard as a torch model, near its golden scores."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.checkpoints import rebuilt
from benchmarks.harness.errors import BenchmarkDataError
from harmguard import HarmGuard
from harmguard.bundle import EMBEDDED, open_bundle

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")


def test_the_rebuilt_checkpoint_computes_what_the_shipped_guard_does(tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    out = tmp_path / "checkpoint"
    rebuilt.write(EMBEDDED, out)
    model = AutoModelForSequenceClassification.from_pretrained(out).eval()
    tokenizer = AutoTokenizer.from_pretrained(out)
    golden = (EMBEDDED / "golden.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in golden.splitlines()]
    rows = [row for row in rows if row["response"] is not None and len(row["ids"]) == 1][:12]
    errors, kept = [], []
    temperature = open_bundle(EMBEDDED).manifest.output.temperature
    with HarmGuard(threads=1) as guard:
        for row in rows:
            pair = row["prompt"], row["response"]
            inputs = tokenizer(*pair, return_tensors="pt")
            assert inputs["input_ids"][0].tolist() == row["ids"][0]
            with torch.inference_mode():
                logits = model(**inputs).logits[0].numpy()
            errors.append(np.abs(logits - np.array(row["logits"][0])).max())
            margin = float(logits[1] - logits[0]) / temperature
            kept.append(abs(1 / (1 + np.exp(-margin)) - guard.score(*pair)))
    # The golden logits are the original checkpoint's, in fp32.
    assert np.mean(errors) < 0.03
    assert max(errors) < 0.2
    assert np.mean(kept) < 0.01


def test_a_graph_of_another_kind(small_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(
        BenchmarkDataError, match=r"has no weight '.*'; expected an int8 BERT guard"
    ):
        rebuilt.write(small_bundle, tmp_path / "out")
