"""benchmarks.performance.scaling and _peak on a tiny guard."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.harness.errors import WorkerError
from benchmarks.performance import _peak, _roofline, scaling
from harmguard.bundle import open_bundle
from harmguard.errors import BundleNotFoundError, MemoryUnreadableError
from harmguard.runtime.session import Session


@pytest.fixture(autouse=True)
def a_small_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real one is larger than any cache: a quarter of a gigabyte, filled at each run."""
    monkeypatch.setattr(_peak, "ONE_ROW", (1, 256, 256))


def test_a_quick_run(
    small_bundle: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "scaling.json"
    assert (
        scaling.COMMAND.main([str(small_bundle), "--quick", "--threads", "1", "--out", str(out)])
        == 0
    )
    found = json.loads(out.read_text(encoding="utf-8"))
    assert found["missing"] == {}
    (guard,) = found["guards"]
    assert min(guard["peak_gops"].values()) > 0
    assert set(guard["calls_ms"]) == {"32"}
    assert guard["calls_ms"]["32"] > 0
    assert [(c["batch"], c["tokens"]) for c in guard["cells"]] == scaling.shapes(
        64, scaling.MOST, quick=True
    )
    profile = guard["profile"]["32"]
    assert profile["MatMul"]["nodes"] == 3
    # 32 tokens x 16 x 16, then x 16 x 1, and 16 x 2 for the one row that is pooled.
    assert sum(cell["macs"] for cell in profile.values()) == 32 * 16 * 17 + 16 * 2
    text = capsys.readouterr().out
    digest = hashlib.sha256((small_bundle / "guard.json").read_bytes()).hexdigest()[:16]
    assert f"**tiny 1, fp32** (guard.json sha256 `{digest}`, the bundle as it is): ms" in text


def test_shapes_are_within_the_limits() -> None:
    large = scaling.shapes(1024, scaling.MOST_LARGE, quick=False)
    assert max(tokens for _, tokens in large) == 1024
    assert max(batch * tokens for batch, tokens in large) == 4096
    mini = scaling.shapes(512, scaling.MOST, quick=False)
    assert max(tokens for _, tokens in mini) == 512
    assert (64, 512) in mini


def test_the_fit_finds_what_the_cells_were_made_of() -> None:
    cells: Any = [
        {"batch": b, "tokens": n, "fastest_ms": 0.5 + 0.02 * b * n + 1e-5 * b * n * n}
        for b, n in scaling.shapes(512, scaling.MOST, quick=False)
    ]
    found = scaling.fit(cells)
    assert found["call_ms"] == pytest.approx(0.5)
    assert found["token_ms"] == pytest.approx(0.02)
    assert found["square_ms"] == pytest.approx(1e-5)
    assert found["worst"] < 1e-6


def test_multiply_adds_of_an_attention() -> None:
    shapes = [{"float": [2, 10, 8]}, {"int8": [8, 24]}]
    found = _peak.macs(
        {"op_name": "QAttention", "input_type_shape": shapes, "output_type_shape": [{"f": [2]}]}
    )
    assert found == 2 * 10 * (8 * 24 + 2 * 10 * 8)
    packed = [shapes[0], {"float": []}, {"float": [24]}]
    assert found == _peak.macs(
        {"op_name": "QAttention", "input_type_shape": packed, "output_type_shape": [{"f": [2]}]}
    )
    # Keys have a channel more in each of 2 heads.
    given = [{"float": [2, 10, 10]}, {"float": [2, 10, 10]}, {"float": [2, 10, 8]}]
    apart = {"input_type_shape": given, "output_type_shape": [{"float": [2, 10, 8]}]}
    assert _peak.macs({"op_name": "MultiHeadAttention", **apart}) == 2 * 10 * 10 * (10 + 8)


def test_nodes_of_a_body_count_each_time_they_run_and_its_holder_never(tmp_path: Path) -> None:
    from onnx import TensorProto, helper, numpy_helper

    def value(name: str, shape: list[int]) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    body = helper.make_graph(
        [helper.make_node("MatMul", ["one", "w"], ["made"])],
        "body",
        [value("one", [2, 3])],
        [value("made", [2, 4])],
    )
    scan = helper.make_node("Scan", ["x"], ["y"], body=body, num_scan_inputs=1)
    weights = numpy_helper.from_array(np.ones((3, 4), np.float32), "w")
    graph = helper.make_graph(
        [scan], "scan", [value("x", [5, 2, 3])], [value("y", [5, 2, 4])], [weights]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    feed = {"x": np.ones((5, 2, 3), np.float32)}
    found = _peak.profile(tmp_path / "model.onnx", feed, 1, 3, lambda: None)
    assert set(found) == {"MatMul"}
    assert (found["MatMul"]["nodes"], found["MatMul"]["macs"]) == (5, 5 * 2 * 3 * 4)


def test_the_floor_is_twice_the_multiply_adds_at_the_peak() -> None:
    profile = {"MatMul": {"macs": 5e8, "ms": 3.0}, "Add": {"macs": 0, "ms": 1.0}}
    guard: Any = {
        "peak_gops": {"fp32": 100.0, "int8": 400.0},
        "bundle": {"recipe": "fp32"},
        "profile": {"32": profile},
        "bytes_read": {"whole": 3e6, "token": 1e3},
    }
    assert _roofline.floor_ms(guard, "32") == pytest.approx(10.0)
    other: Any = {**guard, "bundle": {"recipe": "int4"}}
    assert _roofline.floor_ms(other, "32") == pytest.approx(2.5)
    assert _roofline.read_mb(guard, "32") == pytest.approx(3.032)


def test_bytes_read_are_the_weights_once_and_rows_of_tables(small_bundle: Path) -> None:
    import onnx

    path = small_bundle / "model.onnx"
    whole, row = _peak.bytes_read(path)
    tensors = onnx.load(str(path)).graph.initializer
    sizes = {one.name: len(onnx.numpy_helper.to_array(one).tobytes()) for one in tensors}
    tables = [one for one in tensors if one.name in ("words", "types")]
    assert row == sum(sizes[one.name] / one.dims[0] for one in tables) > 0
    assert whole == sum(sizes.values()) - sum(sizes[one.name] for one in tables)


def test_a_guard_s_process_that_ends_is_named(small_bundle: Path) -> None:
    options = scaling.COMMAND.parser().parse_args([str(small_bundle)])
    options.threads = "none"
    with pytest.raises(WorkerError, match="its process ended with exit status 1"):
        scaling._in_own_process(small_bundle, options)


def test_a_guard_that_fails_is_named_and_the_others_are_kept(
    small_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    measure = scaling._in_own_process

    def failing(folder: Path, *rest: Any) -> Any:
        if folder.name == "second":
            raise WorkerError("scaling of second: its process ended")
        return measure(folder, *rest)

    monkeypatch.setattr(scaling, "_in_own_process", failing)
    second, out = tmp_path / "second", tmp_path / "scaling.json"
    shutil.copytree(small_bundle, second)
    arguments = ["--quick", "--threads", "1", "--out", str(out)]
    assert scaling.COMMAND.main([str(second), str(small_bundle), *arguments]) == 3
    assert f"Missing: {second}: `scaling of second: its process e" in capsys.readouterr().out
    found = json.loads(out.read_text(encoding="utf-8"))
    assert len(found["guards"]) == len(found["missing"]) == 1
    with pytest.raises(WorkerError, match="scaling of second: its process ended"):
        scaling.COMMAND.main([str(second), *arguments])
    with pytest.raises(BundleNotFoundError):
        scaling.COMMAND.main([str(small_bundle), str(tmp_path / "none"), *arguments])


def test_memory_that_may_not_be_read_leaves_the_time(
    small_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise MemoryUnreadableError("no permission to read /proc/self/status")

    monkeypatch.setattr(scaling, "Peak", refuse)
    bundle = open_bundle(small_bundle)
    inputs = scaling.feed(bundle, np.random.default_rng(1), 1, 8)
    cell = scaling._cell(Session(bundle, 1, None), inputs, 2)
    assert cell["peak_anonymous_mb"] is None
    assert cell["memory_error"] == "no permission to read /proc/self/status"
    assert cell["n"] == 2
