"""The MIL operators that a program of ours has after coremltools' passes, in torch.

One function an operator, named op_ and its name, with its parameters' names. Floats are float32.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

_TYPES = {
    "fp16": torch.float32,  # rounded by the caller
    "fp32": torch.float32,
    "int32": torch.int32,
    "int16": torch.int32,
    "uint16": torch.int32,
    "bool": torch.bool,
}


def multiply_adds(kind: str, given: dict[str, Any], out: Tensor) -> int:
    """Multiplications of one call that belong to products of matrices."""
    if kind == "conv":
        return out.numel() * int(math.prod(given["weight"].shape[1:]))
    if kind == "linear":
        return out.numel() * int(given["weight"].shape[1])
    if kind == "matmul":
        x = given["x"]
        inner = x.shape[-2] if bool(given.get("transpose_x", False)) else x.shape[-1]
        return out.numel() * int(inner)
    return 0


def _ints(value: Any) -> list[int]:
    return [int(v) for v in value.reshape(-1)]


# Weights


def op_constexpr_blockwise_shift_scale(
    data: Tensor, scale: Tensor, offset: Tensor | None = None
) -> Tensor:
    assert offset is None
    for axis, (size, parts) in enumerate(zip(data.shape, scale.shape, strict=True)):
        scale = scale.repeat_interleave(size // parts, axis)
    return data.float() * scale


def op_constexpr_affine_dequantize(
    quantized_data: Tensor, scale: Tensor, zero_point: Tensor, axis: Tensor
) -> Tensor:
    shape = [1] * quantized_data.dim()
    shape[int(axis)] = -1
    scale = scale.reshape(shape) if scale.dim() else scale
    return (quantized_data.float() - zero_point.float()) * scale


def op_constexpr_lut_to_dense(
    indices: Tensor, lut: Tensor, shape: Tensor | None = None, vector_axis: Any = None
) -> Tensor:
    if shape is not None:  # iOS 16's: one table, packed indices, the lowest bits first
        sizes = _ints(shape)
        width = int(math.log2(lut.numel()))
        bits = np.unpackbits(indices.numpy().view(np.uint8), bitorder="little")
        digits = bits[: math.prod(sizes) * width].reshape(-1, width).astype(np.int64)
        return lut[torch.from_numpy(digits @ (1 << np.arange(width)))].reshape(sizes)
    tables = lut.squeeze(-1)
    groups = tables.shape[:-1]
    number = torch.zeros((1,) * indices.dim(), dtype=torch.int64)
    for axis, (size, parts) in enumerate(zip(indices.shape, groups, strict=True)):
        place = (torch.arange(size) // (size // parts)).reshape(
            [-1 if a == axis else 1 for a in range(indices.dim())]
        )
        number = number * parts + place
    flat = tables.reshape(-1)
    return flat[number * tables.shape[-1] + indices.long()]


# Shapes and indices


def op_shape(x: Tensor) -> Tensor:
    return torch.tensor(x.shape, dtype=torch.int32)


def op_cast(x: Tensor, dtype: str) -> Tensor:
    return x.to(_TYPES[dtype])


def op_identity(x: Tensor) -> Tensor:
    return x


def op_gather(x: Tensor, indices: Tensor, axis: Tensor, **rest: Any) -> Tensor:
    assert int(rest.get("batch_dims", 0)) == 0
    at = int(axis) % x.dim()
    picked = x.index_select(at, indices.long().reshape(-1) % x.shape[at])
    return picked.reshape(x.shape[:at] + indices.shape + x.shape[at + 1 :])


def op_expand_dims(x: Tensor, axes: Tensor) -> Tensor:
    for axis in sorted(_ints(axes)):
        x = x.unsqueeze(axis)
    return x


def op_squeeze(x: Tensor, axes: Tensor) -> Tensor:
    return x.squeeze(tuple(_ints(axes)))


def op_concat(values: list[Tensor], axis: Tensor, interleave: Any = False) -> Tensor:
    assert not bool(interleave)
    return torch.cat([v.reshape(1) if v.dim() == 0 else v for v in values], int(axis))


def op_slice_by_index(x: Tensor, begin: Tensor, end: Tensor, **rest: Any) -> Tensor:
    def given(name: str, default: int) -> list[int]:
        return _ints(rest[name]) if rest.get(name) is not None else [default] * x.dim()

    stride, squeeze = given("stride", 1), given("squeeze_mask", 0)
    open_begin, open_end = given("begin_mask", 0), given("end_mask", 0)
    parts: list[int | slice] = []
    for axis, (first, last) in enumerate(zip(_ints(begin), _ints(end), strict=True)):
        if squeeze[axis]:
            parts.append(first)
        else:
            low = None if open_begin[axis] else first
            parts.append(slice(low, None if open_end[axis] else last, stride[axis]))
    return x[tuple(parts)]


def op_reshape(x: Tensor, shape: Tensor) -> Tensor:
    return x.reshape([x.shape[i] if n == 0 else n for i, n in enumerate(_ints(shape))])


def op_transpose(x: Tensor, perm: Tensor) -> Tensor:
    return x.permute(_ints(perm))


# Arithmetic


def op_conv(
    x: Tensor,
    weight: Tensor,
    bias: Any = None,
    pad_type: str = "valid",
    groups: Any = 1,
    **rest: Any,
) -> Tensor:
    steps = [n for name in ("strides", "dilations") if name in rest for n in _ints(rest[name])]
    assert set(steps) <= {1}
    if weight.shape[2:] == (1, 1) and int(groups) == 1:
        out = (weight[:, :, 0, 0] @ x[0].flatten(1)).reshape(1, -1, *x.shape[2:])
        return out if bias is None else out + bias.reshape(1, -1, 1, 1)
    if pad_type == "custom":
        top, bottom, left, right = _ints(rest["pad"])
        x = functional.pad(x, (left, right, top, bottom))
    else:
        assert pad_type == "valid"
    return functional.conv2d(x, weight, bias, groups=int(groups))


def op_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return functional.linear(x, weight, bias)


def op_matmul(x: Tensor, y: Tensor, transpose_x: Any = False, transpose_y: Any = False) -> Tensor:
    left = x.transpose(-1, -2) if bool(transpose_x) else x
    return left @ (y.transpose(-1, -2) if bool(transpose_y) else y)


def op_layer_norm(x: Tensor, axes: Tensor, gamma: Any, beta: Any, epsilon: Tensor) -> Tensor:
    [axis] = _ints(axes)
    moved = x.movedim(axis, -1)
    out = functional.layer_norm(moved, [moved.shape[-1]], gamma, beta, float(epsilon))
    return out.movedim(-1, axis)


def op_softmax(x: Tensor, axis: Tensor) -> Tensor:
    return torch.softmax(x, int(axis))


def op_gelu(x: Tensor, mode: str = "EXACT") -> Tensor:
    return functional.gelu(x, approximate="none" if mode == "EXACT" else "tanh")


def op_tanh(x: Tensor) -> Tensor:
    return torch.tanh(x)


def op_relu(x: Tensor) -> Tensor:
    return torch.relu(x)


def op_silu(x: Tensor) -> Tensor:
    return functional.silu(x)


def op_add(x: Tensor, y: Tensor) -> Tensor:
    return x + y


def op_sub(x: Tensor, y: Tensor) -> Tensor:
    return x - y


def op_mul(x: Tensor, y: Tensor) -> Tensor:
    return x * y


def op_greater_equal(x: Tensor, y: Tensor) -> Tensor:
    return x >= y


def op_select(cond: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.where(cond.bool(), a, b)
