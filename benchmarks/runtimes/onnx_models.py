"""ONNX models of one product, and bare sessions of onnxruntime."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harmguard.runtime.session import ort


def options(threads: int) -> Any:
    """Session options without onnxruntime's warnings."""
    chosen = ort.SessionOptions()
    chosen.intra_op_num_threads = threads
    chosen.log_severity_level = 3
    return chosen


def session(model: Path | bytes, chosen: Any) -> Any:
    """A session on the CPU."""
    source = str(model) if isinstance(model, Path) else model
    return ort.InferenceSession(source, chosen, providers=["CPUExecutionProvider"])


def nodes(graph: Any) -> Iterator[Any]:
    """Every node, those of bodies (Scan, Loop, If) included."""
    return (node for own in graphs(graph) for node in own.node)


def graphs(graph: Any) -> Iterator[Any]:
    """A graph, and the bodies in it."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for body in [attribute.g] if attribute.HasField("g") else attribute.graphs:
                yield from graphs(body)


def product(weights: npt.NDArray[Any], rows: int | str, scale: float = 1.0, zero: int = 0) -> bytes:
    """y = x w in fp32; weights of int8: of x in uint8, less `zero`, times `scale` twice."""
    from onnx import TensorProto, helper, numpy_helper

    inner, columns = weights.shape
    element, node = TensorProto.FLOAT, helper.make_node("MatMul", ["x", "w"], ["y"])
    held = {"w": weights}
    if weights.dtype == np.int8:
        element = TensorProto.UINT8
        held |= {"scale": np.array(scale, np.float32), "zero": np.array(zero, np.uint8)}
        held["none"] = np.array(0, np.int8)
        names = ["x", "w", "scale", "scale", "zero", "none"]
        node = helper.make_node("MatMulIntegerToFloat", names, ["y"], domain="com.microsoft")
    graph = helper.make_graph(
        [node],
        "product",
        [helper.make_tensor_value_info("x", element, [rows, inner])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [rows, columns])],
        [numpy_helper.from_array(value, name) for name, value in held.items()],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString())
