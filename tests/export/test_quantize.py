from __future__ import annotations

import re

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from harmguard_export.graphs.writer import IR_VERSION, MICROSOFT, OPSET
from harmguard_export.quantization.quantize import (
    PAIR_LIMIT,
    column_scales,
    quantize_columns,
    quantize_rows,
)
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from harmguard.bundle import EMBEDDED


def weights(seed: int, rows: int, columns: int, outliers: float) -> np.ndarray:
    random = np.random.default_rng(seed)
    values = random.standard_normal((rows, columns)) * random.uniform(0.01, outliers, (rows, 1))
    return values.astype(np.float32)


@given(st.integers(0, 2**32 - 1), st.integers(1, 33), st.floats(0.02, 50))
def test_no_two_neighbours_can_saturate_sixteen_bits(seed: int, rows: int, top: float) -> None:
    weight = weights(seed, rows, 5, top)
    inputs = weights(seed, 20, rows, 1.0) if seed % 2 else None
    q, scale = quantize_columns(weight, inputs)
    even = rows // 2 * 2
    pairs = q[0:even:2].astype(int), q[1:even:2].astype(int)
    for sign in (1, -1):
        sums = sum(np.maximum(sign * pair, 0) for pair in pairs)
        assert np.all(sums <= PAIR_LIMIT)
    assert 255 * PAIR_LIMIT < 2**15
    assert np.all(np.abs(q) <= 127)
    assert np.all(scale > 0)


def test_the_mini_guard_cannot_saturate_sixteen_bits() -> None:
    graph = onnx.load(EMBEDDED / "model.onnx").graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    found = 0
    for node in graph.node:
        if node.op_type not in ("MatMulIntegerToFloat", "QAttention"):
            assert not re.search("Integer|QLinear", node.op_type)
            continue
        name = next(i for i in node.input if i in tensors and len(tensors[i].dims) == 2)
        q = numpy_helper.to_array(tensors[name]).astype(int)
        for sign in (1, -1):
            side = np.maximum(sign * q, 0)
            assert (side[0::2] + side[1::2]).max() <= PAIR_LIMIT, name
        found += 1
    assert found >= 20


def test_inputs_make_their_products_more_exact() -> None:
    weight = weights(0, 64, 32, 1.0)
    mix = weights(1, 16, 64, 1.0)
    inputs = weights(2, 300, 16, 1.0) @ mix + 0.1 * weights(3, 300, 64, 1.0)
    errors = []
    for known in (None, inputs):
        q, scale = quantize_columns(weight, known)
        np.testing.assert_array_equal(scale, column_scales(weight))
        errors.append(np.square(inputs @ (q * scale - weight)).mean())
    assert errors[1] < errors[0] / 2


def test_columns_are_near_the_weights() -> None:
    weight = weights(0, 64, 8, 1.0)
    q, scale = quantize_columns(weight)
    assert np.abs(q * scale - weight).max() <= scale.max() / 2 * 1.001


def test_zero_columns_and_rows_stay_zero() -> None:
    for quantize in (quantize_columns, quantize_rows):
        q, scale = quantize(np.zeros((4, 6), np.float32))
        assert not q.any()
        assert np.all(scale == 1)


def test_rows_have_a_scale_each() -> None:
    table = weights(1, 10, 32, 100.0)
    q, scale = quantize_rows(table)
    assert scale.shape == (10, 1)
    assert np.all(np.abs(q * scale - table) <= scale / 2 * 1.001)


@pytest.mark.parametrize("activation", [0, 128, 255])
def test_the_product_is_exact_on_this_processor(activation: int) -> None:
    weight = np.abs(weights(2, 64, 16, 1.0))
    weight[:2] = weight.max()
    q, scale = quantize_columns(weight)
    x = np.full((3, 64), activation, np.uint8)
    node = helper.make_node(
        "MatMulIntegerToFloat", ["x", "q", "step", "scale", "zero"], ["y"], domain=MICROSOFT
    )
    zero, step = np.array(20, np.uint8), np.array(1, np.float32)
    held: dict[str, np.ndarray] = {"q": q, "step": step, "scale": scale, "zero": zero}
    graph = helper.make_graph(
        [node],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, ["rows", 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 16])],
        [helper.make_tensor(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape, a.tobytes(), True)
         for n, a in held.items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = (x.astype(np.int64) - 20) @ q.astype(np.int64) * scale
    np.testing.assert_allclose(session.run(None, {"x": x})[0], expected, rtol=1e-6)
