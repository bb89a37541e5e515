from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("coremltools")

import torch
from harmguard_export.coreml import export_coreml, package, program
from harmguard_export.coreml.compress import pack
from harmguard_export.coreml.exporter import channel_sizes
from harmguard_export.coreml.torch_program import Evaluator, read_program
from harmguard_export.coreml.weights import ModelWeights
from harmguard_export.pairs import read_pairs
from harmguard_export.quantization.activation_ranges import calibrate

from benchmarks.checkpoints import small_deberta
from harmguard.checkpoint import load_checkpoint
from tests.benchmarks.test_large import checkpoint, rows

IDS = np.arange(5, 25)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(tmp_path_factory.mktemp("outliers") / "plain")


@pytest.fixture(scope="module")
def spiked(plain: Path) -> Path:
    """The same with six outlier channels beside 378 of the usual size."""
    data = rows(plain.parent / "rows.jsonl")
    small_deberta.inject(plain, plain.parent / "spiked", data)
    return plain.parent / "spiked" / "student"


@pytest.mark.parametrize(("kind", "share"), [("int8", 0.5), ("int4", 0.75)])
def test_rounding_costs_a_layer_less_where_outliers_are_evened(
    spiked: Path, kind: str, share: float
) -> None:
    loaded = load_checkpoint(spiked)
    encoded = loaded.encode(read_pairs(None).pairs)
    short = sorted((w for e in encoded for w in e.windows), key=lambda w: len(w.ids))[:16]
    seen, _ = calibrate(loaded, short, 1.0, lambda _: None)
    model, sizes = ModelWeights.of(loaded), channel_sizes(loaded, encoded)

    def error(name: str, given: dict[str, Any]) -> float:
        """RMS error of what a layer computes, as a share of its RMS."""
        dense: dict[str, Any] = {}

        def store(weight_name: str, weight: Any) -> Any:
            dense[weight_name] = pack(weight, kind).dense()
            return pack(weight, "fp16")

        program.ProgramBuilder(model, 64, "iOS18", store, given).build()
        x = seen[name].sample
        size = np.ones(x.shape[1], np.float32)
        if name in given:
            size = np.where(given[name] > program.OUTLIER, given[name], 1)
        layer, part = name.split(".")
        weight, _ = model.linear(int(layer), part)
        expected = x @ weight.T
        wrong = (x / size) @ dense[name].T - expected
        return float(np.sqrt((wrong**2).mean() / (expected**2).mean()))

    for name in ("0.up", "1.up"):
        assert (sizes[name] > program.OUTLIER).sum() >= 4
        assert error(name, sizes) < share * error(name, {})


def exported(folder: Path, out: Path) -> tuple[float, int]:
    """The largest error of a logit in fp16, and the multiplications in the program."""
    export_coreml(folder, out, recipe="fp16", gate=False, lengths=(32,))
    evaluator = Evaluator(read_program(out / package.NAME), half=True)
    feeds = {name: np.zeros((1, 32), np.int32) for name in ("input_ids", "attention_mask")}
    feeds["input_ids"][0, : len(IDS)], feeds["attention_mask"][0, : len(IDS)] = IDS, 1
    with torch.inference_mode():
        ids = torch.from_numpy(IDS[None])
        expected = load_checkpoint(folder).model(ids, torch.ones_like(ids)).logits.numpy()
    kinds, _ = evaluator.counted(feeds)
    return float(np.abs(evaluator(feeds) - expected).max()), dict(kinds)["mul"]


def test_evening_is_the_same_function_and_is_left_out_without_outliers(
    plain: Path, spiked: Path, tmp_path: Path
) -> None:
    wrong, multiplications = exported(spiked, tmp_path / "spiked")
    assert wrong < 1e-3
    other, usual = exported(plain, tmp_path / "plain")
    assert other < 1e-3
    # Of four places in two layers, the first reads the embeddings, which were left as they are.
    assert multiplications == usual + 3
