"""What this machine's kernels reach at best, and what onnxruntime says that a graph spends.

Operations are two for each multiply-add; GOPS are 10^9 operations in a second.
"""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from benchmarks.runtimes.onnx_models import graphs, nodes, options, product, session

Shape = tuple[int, int, int]
SHAPES: tuple[Shape, ...] = ((512, 1024, 4096), (128, 1024, 4096), (128, 1024, 1024))
"""Rows, inner and columns of products as large as a large guard's layers, where kernels are at
their best; which one is best depends on the caches."""
ONE_ROW: Shape = (1, 4096, 16_384)
"""268 MB of weights in fp32: more than a processor's caches hold."""
CALLS = 12
_WEIGHTED = ("MatMul", "FusedMatMul", "Gemm", "FusedGemm", "MatMulIntegerToFloat", "MatMulInteger")
_PACKED = ("DynamicQuantizeMatMul", "MatMulNBits")
_ATTENTION = ("Attention", "QAttention")
BLOCK = 4
_BODIES = ("Scan", "Loop", "If")


class Kernel(TypedDict):
    """What one operator type takes of a call."""

    nodes: int
    ms: float
    macs: int


class Products:
    """Large products of "fp32" or "int8" (u8 x s8), ready to be timed again and again."""

    def __init__(self, kind: str, threads: int, shapes: Sequence[Shape] = SHAPES) -> None:
        element: Any = np.uint8 if kind == "int8" else np.float32
        self._parts = [
            (
                2 * math.prod(shape),
                session(_product(kind, shape), options(threads)),
                np.ones(shape[:2], element),
            )
            for shape in shapes
        ]
        self.gops = 0.0
        """The best rate so far."""

    def time(self, calls: int = CALLS) -> None:
        """Keep the best rate of `calls` more calls of each."""
        for operations, ready, value in self._parts:
            for _ in range(calls):
                before = time.perf_counter()
                ready.run(None, {"x": value})
                self.gops = max(self.gops, operations / (time.perf_counter() - before) / 1e9)


def read_gbs(threads: int) -> float:
    """10^9 bytes in a second that a product of one row reads at best, its weights not cached."""
    row = Products("fp32", threads, [ONE_ROW])
    row.time()
    return 2 * row.gops  # two operations for the four bytes of a weight


def _product(kind: str, shape: Shape) -> bytes:
    rows, inner, columns = shape
    weights = np.random.default_rng(4).standard_normal((inner, columns), np.float32)
    if kind == "int8":
        return product((weights * 30).clip(-64, 64).astype(np.int8), rows, 0.01, 128)
    return product(weights, rows)


def bytes_read(model: Path) -> tuple[float, float]:
    """Bytes of the weights that every call reads, and those that a token adds.

    As the file has them: of a table whose first axis a Gather reads a row a token, all else once.
    """
    import onnx

    graph = onnx.load(str(model), load_external_data=False).graph
    rows = {
        node.input[0]
        for node in nodes(graph)
        if node.op_type == "Gather" and not any(one.i for one in node.attribute)
    }
    whole = row = 0.0
    for own in graphs(graph):
        for tensor in own.initializer:
            size = _tensor_bytes(tensor)
            if tensor.name in rows and len(tensor.dims) == 2:
                row += size / tensor.dims[0]
            else:
                whole += size
    return whole, row


def _tensor_bytes(tensor: Any) -> float:
    from onnx import TensorProto, helper

    count = float(np.prod(tensor.dims, dtype=np.float64))
    if tensor.data_type in (TensorProto.INT4, TensorProto.UINT4):
        return count / 2
    return count * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize


def profile(
    model: Path,
    feed: Mapping[str, Any],
    threads: int,
    calls: int,
    between: Callable[[], None],
) -> dict[str, Kernel]:
    """Milliseconds and multiply-adds of one call by operator type, from onnxruntime's profile.

    Each node counts its fastest call, what holds a body its body's nodes alone. `between` is
    called before every BLOCK calls: what it reads is out of the caches again after the first.
    """
    with tempfile.TemporaryDirectory() as folder:
        chosen = options(threads)
        chosen.enable_profiling = True
        chosen.profile_file_prefix = str(Path(folder) / "profile")
        profiled = session(model, chosen)
        for index in range(1 + calls):
            if index % BLOCK == 0:
                between()
            profiled.run(None, dict(feed))
        events = json.loads(Path(profiled.end_profiling()).read_text(encoding="utf-8"))
    nodes: dict[str, list[dict[str, Any]]] = {}
    for event in events:
        own = event.get("cat") == "Node" and event["name"].endswith("_kernel_time")
        if own and event["args"]["op_name"] not in _BODIES:
            nodes.setdefault(event["name"], []).append(event)
    by: dict[str, Kernel] = {}
    for taken in nodes.values():
        arguments = taken[-1]["args"]
        cell = by.setdefault(arguments["op_name"], Kernel(nodes=0, ms=0.0, macs=0))
        times = len(taken) // (1 + calls)  # a node of a body runs several times a call
        spent = [sum(one["dur"] for one in taken[i * times :][:times]) for i in range(1 + calls)]
        cell["nodes"] += times
        cell["ms"] += min(spent[1:]) / 1000
        cell["macs"] += times * macs(arguments)
    ordered = sorted(by.items(), key=lambda item: -item[1]["ms"])
    return {n: Kernel(nodes=c["nodes"], ms=round(c["ms"], 4), macs=c["macs"]) for n, c in ordered}


def macs(arguments: Mapping[str, Any]) -> int:
    """Multiply-adds of one node, from the shapes in its profile event; 0 for all but products."""
    inputs = [next(iter(one.values())) for one in arguments["input_type_shape"]]
    outputs = [next(iter(one.values())) for one in arguments["output_type_shape"]]
    kind = arguments["op_name"]
    if kind in _WEIGHTED or kind in _PACKED:
        # The first input is [..., K]; Gemm's may be transposed, which the output settles.
        return int(np.prod(outputs[0]) * inputs[0][-1])
    if kind == "MultiHeadAttention":
        queries, keys, values = inputs[:3]
        return int(np.prod(queries) * keys[1] + np.prod(queries[:2]) * np.prod(values[1:]))
    if kind in _ATTENTION:
        batch, length, width = inputs[0]
        # The weights are not among them once they are packed, the bias is: both end in it.
        projected = next(shape[-1] for shape in inputs[1:] if shape)
        return int(batch * length * (width * projected + 2 * length * (projected // 3)))
    return 0
