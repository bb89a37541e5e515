"""What this machine's kernels reach at best, and what onnxruntime says that a graph spends.

Operations are two for each multiply-add; GOPS are 10^9 operations in a second.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from harmguard._session import ort
from harmguard.bench import stats

ROWS, INNER, COLUMNS = 512, 1024, 4096
"""A product as large as a large guard's feed-forward layer: kernels are at their best there."""
CALLS = 12
_WEIGHTED = ("MatMul", "FusedMatMul", "Gemm", "MatMulIntegerToFloat", "MatMulInteger")
_PACKED = ("DynamicQuantizeMatMul", "MatMulNBits")
_ATTENTION = ("Attention", "QAttention")


def options(threads: int) -> Any:
    """Session options without onnxruntime's warnings."""
    made = ort.SessionOptions()
    made.intra_op_num_threads = threads
    made.log_severity_level = 3
    return made


def peak_gops(kind: str, threads: int) -> float:
    """The best of some calls of one large product, "fp32" or "int8" (u8 x s8)."""
    session = ort.InferenceSession(product(kind), options(threads), ["CPUExecutionProvider"])
    random = np.random.default_rng(3)
    if kind == "fp32":
        value: Any = random.normal(size=(ROWS, INNER)).astype(np.float32)
    else:
        value = random.integers(0, 255, (ROWS, INNER)).astype(np.uint8)
    seconds = []
    for _ in range(CALLS):
        before = time.perf_counter()
        session.run(None, {"x": value})
        seconds.append(time.perf_counter() - before)
    return 2 * ROWS * INNER * COLUMNS / min(seconds) / 1e9


def product(kind: str) -> bytes:
    """An ONNX graph of one product with a constant."""
    from onnx import TensorProto, helper, numpy_helper

    weights = np.random.default_rng(4).normal(size=(INNER, COLUMNS)).astype(np.float32)
    element, node = TensorProto.FLOAT, helper.make_node("MatMul", ["x", "w"], ["y"])
    constants = [numpy_helper.from_array(weights, "w")]
    opsets = [helper.make_opsetid("", 18)]
    if kind == "int8":
        element = TensorProto.UINT8
        constants = [
            numpy_helper.from_array((weights * 30).clip(-64, 64).astype(np.int8), "w"),
            numpy_helper.from_array(np.array(0.01, np.float32), "scale"),
            numpy_helper.from_array(np.array(128, np.uint8), "zero"),
            numpy_helper.from_array(np.array(0, np.int8), "none"),
        ]
        names = ["x", "w", "scale", "scale", "zero", "none"]
        node = helper.make_node("MatMulIntegerToFloat", names, ["y"], domain="com.microsoft")
        opsets.append(helper.make_opsetid("com.microsoft", 1))
    graph = helper.make_graph(
        [node],
        "peak",
        [helper.make_tensor_value_info("x", element, [ROWS, INNER])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [ROWS, COLUMNS])],
        constants,
    )
    model: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()
    return model


def profile(model: Path, feed: Mapping[str, Any], threads: int, calls: int) -> dict[str, Any]:
    """Milliseconds and multiply-adds of one call by operator type, from onnxruntime's profile."""
    with tempfile.TemporaryDirectory() as folder:
        made = options(threads)
        made.enable_profiling = True
        made.profile_file_prefix = str(Path(folder) / "profile")
        session = ort.InferenceSession(str(model), made, ["CPUExecutionProvider"])
        for _ in range(1 + calls):
            session.run(None, dict(feed))
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    nodes: dict[str, list[dict[str, Any]]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            nodes.setdefault(event["name"], []).append(event)
    by: dict[str, dict[str, float]] = {}
    for taken in nodes.values():
        arguments = taken[-1]["args"]
        cell = by.setdefault(arguments["op_name"], {"nodes": 0, "ms": 0.0, "macs": 0})
        cell["nodes"] += 1
        cell["ms"] += stats.percentile([event["dur"] / 1000 for event in taken[1:]], 0.5)
        cell["macs"] += macs(arguments)
    ordered = sorted(by.items(), key=lambda item: -item[1]["ms"])
    return {name: {**cell, "ms": round(cell["ms"], 4)} for name, cell in ordered}


def macs(arguments: Mapping[str, Any]) -> int:
    """Multiply-adds of one node, from the shapes in its profile event; 0 for all but products."""
    inputs = [next(iter(one.values())) for one in arguments["input_type_shape"]]
    outputs = [next(iter(one.values())) for one in arguments["output_type_shape"]]
    kind = arguments["op_name"]
    if kind in _WEIGHTED or kind in _PACKED:
        # The first input is [..., K]; Gemm's may be transposed, which the output settles.
        return int(np.prod(outputs[0]) * inputs[0][-1])
    if kind in _ATTENTION:
        batch, length, width = inputs[0]
        projected = inputs[1][1]
        return int(batch * length * (width * projected + 2 * length * (projected // 3)))
    return 0
