"""Quantised layers in onnxruntime against their float32 products, with outliers as DeBERTa's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from harmguard_export.graphs.linears import Linears
from harmguard_export.graphs.writer import Graph
from harmguard_export.quantization.activation_ranges import Activations
from harmguard_export.quantization.channel_scaling import ChannelScaling, choose_scaling
from harmguard_export.quantization.quantize import (
    BLOCK,
    SIGNED_ZERO,
    Floats,
    quantize_blocks,
    token_sizes,
)

WIDTH, OUT = 160, 48


def inputs(outliers: int, positive: bool = False) -> Floats:
    """Inputs [rows, channels]: some channels are 60 times the others, one row 30 times."""
    random = np.random.default_rng(3)
    x = random.normal(size=(600, WIDTH)).astype(np.float32)
    if positive:
        x = np.maximum(x * 3, -0.15).astype(np.float32)
    x[:, random.permutation(WIDTH)[:outliers]] *= 60
    x[17] *= 30
    return x


def layer() -> tuple[Floats, Floats]:
    random = np.random.default_rng(4)
    weight = random.normal(size=(WIDTH, OUT)).astype(np.float32)
    return weight, random.normal(size=OUT).astype(np.float32)


def run(
    folder: Path, x: Floats, precision: str, calibration: Floats, *, positive: bool = False
) -> tuple[Floats, Linears]:
    found = Activations(np.abs(calibration).max(0), calibration)
    # One column of ids carries one row of x: the graph's inputs are ids.
    with Graph(("input_ids", "attention_mask"), folder) as graph:
        rows = graph.node("Reshape", ["input_ids", graph.constant([-1])])
        picked = graph.node("Gather", [graph.weight("x", x), rows])
        linears = Linears(graph, lambda _: precision, {"0.qkv": found})
        graph.save(linears.add(picked, "0.qkv", layer(), positive=positive), OUT)
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    ids = np.arange(len(x))[None]
    # attention_mask has no user here, and onnxruntime asks for it all the same.
    output = session.run(["logits"], {"input_ids": ids, "attention_mask": ids})[0]
    return np.asarray(output), linears


def relative_error(x: Floats, output: Floats) -> float:
    weight, bias = layer()
    return relative_error_of(x @ weight + bias, output)


def relative_error_of(exact: Floats, output: Floats) -> float:
    error = (output - exact) / token_sizes(exact)
    return float(np.sqrt((error**2).mean()))


@pytest.mark.parametrize(
    ("precision", "positive", "limit"),
    [("fp32", False, 1e-5), ("int8", False, 0.012), ("int8", True, 0.01), ("int4", False, 0.11)],
)
@pytest.mark.parametrize("outliers", [0, 6])
def test_outputs_are_near_the_products(
    tmp_path: Path, precision: str, positive: bool, limit: float, outliers: int
) -> None:
    x = inputs(outliers, positive)
    output, linears = run(tmp_path, x, precision, x, positive=positive)
    assert relative_error(x, output) < limit
    assert (precision == "fp32") == (not linears.errors)
    assert all(0 < error < 0.15 for error in linears.errors.values())


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_a_row_does_not_depend_on_the_others(tmp_path: Path, precision: str) -> None:
    x = inputs(6)
    for name in ("all", "one"):
        (tmp_path / name).mkdir()
    together, _ = run(tmp_path / "all", x, precision, x)
    alone, _ = run(tmp_path / "one", x[5:6], precision, x)
    assert np.allclose(together[5], alone[0], rtol=1e-6, atol=1e-6)


def test_larger_inputs_than_calibration_saw_keep_their_accuracy(tmp_path: Path) -> None:
    x = inputs(6)
    output, _ = run(tmp_path, x * 100, "int8", x)
    assert relative_error(x * 100, output) < 0.012


def test_channels_stay_in_float32_only_where_it_pays() -> None:
    weight, _ = layer()
    plain = inputs(0)
    found = Activations(np.abs(plain).max(0), plain)
    assert len(choose_scaling(found, weight, "int8", False).outliers) == 0
    # A range from 0 up is not divided, so that only float32 helps.
    x = inputs(6, positive=True)
    division = choose_scaling(Activations(np.abs(x).max(0), x), weight, "int8", True)
    # Six are large: more are not needed.
    assert len(division.outliers) == 6
    large = np.flatnonzero(np.median(np.abs(x), 0) > 10 * np.median(np.abs(x)))
    assert set(large) <= set(division.outliers)
    assert (division.factors[division.outliers] == 0).all()


def test_a_fixed_range_holds_all_that_calibration_saw() -> None:
    weight, _ = layer()
    x = np.delete(inputs(0), 17, 0)
    x[:, 5] *= 50
    found = Activations(np.abs(x).max(0), x)
    division = choose_scaling(found, weight, "int8", False, fixed=True)
    assert division.fixed
    rest = np.delete(x, division.outliers, 1) / np.delete(division.spread, division.outliers)
    assert np.abs(rest).max() <= 1.0001
    whole = np.full(WIDTH, np.abs(x).max(), np.float32)
    one_range = ChannelScaling(whole, np.array([], np.intp), "int8", SIGNED_ZERO, 0.0, fixed=True)
    exact = x @ weight
    errors = [
        relative_error_of(exact, one.inputs(x) @ one.weight(weight)
                          + x[:, one.outliers] @ weight[one.outliers])
        for one in (division, one_range)
    ]  # fmt: skip
    assert errors[0] < errors[1] / 4


def test_tokens_far_above_the_others_keep_ranges_of_their_own() -> None:
    weight, _ = layer()
    x = inputs(0)
    x[::40] *= 30
    found = Activations(np.abs(x).max(0), x)
    assert not choose_scaling(found, weight, "int8", False, fixed=True).fixed


def test_division_keeps_the_product() -> None:
    weight, _ = layer()
    x = inputs(6)
    spread = np.linspace(1, 9, WIDTH, dtype=np.float32)
    division = ChannelScaling(spread, np.arange(3), "int8", SIGNED_ZERO, 0.0)
    exact = (x * division.factors) @ division.weight(weight)
    assert np.allclose(exact, x[:, 3:] @ weight[3:], rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("rows", [BLOCK, 2 * BLOCK, 150])
def test_blocks_unpack_to_about_the_weight(rows: int) -> None:
    random = np.random.default_rng(5)
    weight = random.normal(size=(rows, 5)).astype(np.float32)
    sample = random.normal(size=(400, rows)).astype(np.float32)
    packed, scales = quantize_blocks(weight, sample)
    assert packed.shape == (5, -(-rows // BLOCK), BLOCK // 2)
    levels = np.stack([packed & 15, packed >> 4], -1).reshape(*scales.shape, BLOCK)
    found = ((levels.astype(np.float32) - 8) * scales[..., None]).reshape(5, -1).T
    assert (found[rows:] == 0).all()
    # Half a step, and what earlier rows have handed on.
    assert np.abs(found[:rows] - weight).max() < 2.5 * scales.max()
    exact = sample @ weight
    plain = np.rint(weight / scales.max()) * scales.max()
    assert ((sample @ found[:rows] - exact) ** 2).mean() < ((sample @ plain - exact) ** 2).mean()
