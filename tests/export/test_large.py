"""The full 435M shape with random weights: minutes and gigabytes, so `pytest -m slow` alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from harmguard_export.deberta_config import read_config
from harmguard_export.graphs.deberta import DebertaGraph
from harmguard_export.pairs import read_pairs
from harmguard_export.quantization.recipe import load_recipe
from tokenizers.models import WordPiece
from tokenizers.pre_tokenizers import BertPreTokenizer
from transformers import DebertaV2ForSequenceClassification

from benchmarks.checkpoints._outliers import CHANNELS, scale_layer_norms
from benchmarks.checkpoints.deberta_large import deberta_config
from harmguard import HarmGuard
from harmguard.checkpoint import load_checkpoint
from harmguard.cli import main
from harmguard.errors import UnverifiedBundleWarning
from harmguard.runtime.session import ort
from tests.training import tiny

pytestmark = pytest.mark.slow
LENGTHS = (1, 2, 7, 64, 130, 300, 512, 1024)
# Five long texts at once would only measure torch's patience.
MOST = 1300


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its tokenizer has the words of the package's pairs; the table of words all 128,100 rows."""
    folder = tmp_path_factory.mktemp("large") / "checkpoint"
    torch.manual_seed(3)
    model: Any = DebertaV2ForSequenceClassification(deberta_config())
    scale_layer_norms(model, CHANNELS)
    with torch.no_grad():
        model.classifier.weight.normal_(0, 1)
    model.save_pretrained(folder)
    words(folder)
    return folder


def words(folder: Path) -> None:
    """Write a tokenizer that makes windows as long as a real one does, into `folder`."""
    splits = BertPreTokenizer()
    texts = [t.lower() for pair in read_pairs(None).pairs for t in pair if t is not None]
    found = {word for text in texts for word, _ in splits.pre_tokenize_str(text)}
    pieces = [*tiny.SPECIALS, *sorted(found)]
    fast = tiny.tokenizer()
    fast.backend_tokenizer.model = WordPiece(
        {piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"
    )
    fast.model_max_length = 1024
    fast.save_pretrained(str(folder))


def test_fp32_equals_torch_at_every_length(large: Path, tmp_path: Path) -> None:
    checkpoint = load_checkpoint(large)
    weights = {name: tensor.numpy() for name, tensor in checkpoint.model.state_dict().items()}
    config, recipe = read_config(checkpoint.config), load_recipe("fp32")
    DebertaGraph(config, checkpoint.inputs, weights, recipe, {}).write(tmp_path)
    session = ort.InferenceSession(str(tmp_path / "model.onnx"))
    for length in LENGTHS:
        for rows in (1, 5) if 5 * length <= MOST else (1,):
            ids = np.random.default_rng(length).integers(5, 128_100, (rows, length))
            lengths = np.linspace(1, length, rows).round()[::-1, None]
            mask = (np.arange(length) < lengths).astype(np.int64)
            with torch.inference_mode():
                given = (torch.from_numpy(array) for array in (ids, mask))
                expected = checkpoint.model(*given).logits.numpy()
            found = session.run(["logits"], {"input_ids": ids, "attention_mask": mask})[0]
            assert np.abs(found - expected).max() < 1e-4, (length, rows)


def command(*arguments: str) -> int:
    """Run `harmguard` in a process of its own; its peak of resident memory in bytes."""
    process = subprocess.Popen([sys.executable, "-m", "harmguard", *arguments])
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_maxrss * 1024


@pytest.mark.parametrize(("recipe", "most_bytes"), [("int8", 480e6), ("int4", 340e6)])
def test_export_in_six_gigabytes(
    large: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    recipe: str,
    most_bytes: float,
) -> None:
    out = tmp_path / "bundle"
    peak = command("export", str(large), str(out), "--recipe", recipe, "--gate", "off")
    assert peak < 6e9
    sizes = [path.stat().st_size for path in out.glob("*.onnx.data")]
    assert sum(sizes) < most_bytes
    assert len(sizes) > 2
    assert json.loads((out / "guard.json").read_text())["precision"]["parity"] is None
    command("verify", str(out))  # it prints the warning that Python code gets below
    assert main(["info", str(out)]) == 0
    capsys.readouterr()
    cache = tmp_path / "cache"
    with pytest.warns(UnverifiedBundleWarning, match="exported without a parity gate"):
        guard = HarmGuard(out, cache=cache)
    with guard:
        assert 0 <= guard.score("how do i bake bread", "with milk") <= 1


@pytest.mark.parametrize("recipe", ["int8", "palette4"])
def test_core_ml_in_twelve_gigabytes(large: Path, tmp_path: Path, recipe: str) -> None:
    pytest.importorskip("coremltools")
    out = tmp_path / "bundle"
    given = ["--target", "coreml", "--recipe", recipe, "--gate", "off"]
    assert command("export", str(large), str(out), *given) < 12e9
    assert main(["verify", str(out)]) == 0
