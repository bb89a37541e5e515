"""Weights and activations in 8 and 4 bits; in 8, every processor computes the same integers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch

Floats = npt.NDArray[np.float32]
Int8s = npt.NDArray[np.int8]

# x86 without VNNI adds two products of a u8 and an s8 in 16 bits, saturating: 255 * 128 < 2**15.
PAIR_LIMIT = 128
# Signed activations in [-1, 1] as u8: round(x * 127) + 128.
SIGNED_ZERO, SIGNED_STEPS = 128, 127
# GELU never goes below this, so most of its 8 bits are spent on the positive side.
GELU_LOWEST = -0.17

# A token's range is at least this, so that nothing is divided by 0.
LEAST = 1e-12

# Inputs that share a scale in 4-bit layers.
BLOCK = 128

_DAMPING = 0.02
_ROWS = 128
_TABLE_ROWS = 4096


def steps_above(zero: int) -> int:
    """The steps of 8 bits above the one, `zero`, that stands for 0: a range ends at 1."""
    return 255 - zero


def round_inputs(x: Floats, zero: int = SIGNED_ZERO) -> Floats:
    """What activations of at most 1 become in 8 bits, of which `zero` stands for 0."""
    steps = steps_above(zero)
    return np.asarray(np.clip(np.rint(x * steps), -zero, steps) / steps, np.float32)


def token_sizes(outputs: Floats) -> Floats:
    """RMS of each row [rows, 1]: what an error in the row is measured against."""
    size = np.sqrt((outputs.astype(np.float64) ** 2).mean(1, keepdims=True))
    return np.asarray(np.maximum(size, 1e-6), np.float32)


def column_scales(weight: Floats) -> Floats:
    """A scale per column of a weight [in, out] that 8 bits and PAIR_LIMIT allow.

    It keeps every two neighbours that one 16-bit addition takes together, rows 2k and 2k + 1,
    within PAIR_LIMIT, so that the addition cannot saturate whatever the activations.
    """
    even = len(weight) // 2 * 2
    pairs = np.abs(weight[0:even:2] + weight[1:even:2]).max(0, initial=0)
    # One less, because rounding can add one half to each of the two.
    scale = np.maximum(np.abs(weight).max(0) / 127, pairs / (PAIR_LIMIT - 1))
    return np.where(scale == 0, 1, scale).astype(np.float32)


def quantize_columns(weight: Floats, inputs: Floats | None = None) -> tuple[Int8s, Floats]:
    """Int8 weight [in, out] and a scale per column: weight is about q * scale.

    With `inputs` [tokens, in], rounding errors are made up for as `compensated` says.
    """
    scale = column_scales(weight)
    if inputs is None:
        return np.clip(np.rint(weight / scale), -127, 127).astype(np.int8), scale
    before: Floats = np.zeros_like(scale)

    def round_row(row: int, rest: Floats) -> Floats:
        nonlocal before
        low, high = np.float32(-127), np.float32(127)
        if row % 2:
            low = np.maximum(low, -PAIR_LIMIT - np.minimum(before, 0))
            high = np.minimum(high, PAIR_LIMIT - np.maximum(before, 0))
        before = np.asarray(np.clip(np.rint(rest[row]), low, high), np.float32)
        return before

    q = compensated((weight / scale).astype(np.float32), inputs, round_row)
    return q.astype(np.int8), scale


def compensated(
    weight: Floats, inputs: Floats, round_row: Callable[[int, Floats], Floats]
) -> Floats:
    """A weight [in, out] whose rows `round_row(row, rest)` has rounded, in order.

    What rounding one row loses is made up for by the rows after it as far as the inputs
    [tokens, in] are correlated (Frantar et al., arXiv:2210.17323), so that the error of
    `inputs @ weight` is less than that of rounding alone. `rest` is the weight as it is then.
    """
    upper = _inverse_root(inputs)
    rest = weight.copy()
    rounded = np.empty_like(rest)
    for start in range(0, len(rest), _ROWS):
        end = min(start + _ROWS, len(rest))
        errors = np.empty_like(rest[start:end])
        for row in range(start, end):
            rounded[row] = round_row(row, rest)
            error = (rest[row] - rounded[row]) / upper[row, row]
            rest[row + 1 : end] -= upper[row, row + 1 : end, None] * error
            errors[row - start] = error
        # The rows beyond are updated by one product, which is many times as fast.
        rest[end:] -= upper[start:end, end:].T @ errors
    return rounded


def _inverse_root(inputs: Floats) -> Floats:
    """Upper triangular U with U^T U the inverse of the inputs' second moments [in, in]."""
    moments = torch.from_numpy(inputs.T @ inputs).double()
    size = max(float(moments.diagonal().mean()), 1e-12)
    moments += torch.eye(len(moments), dtype=torch.float64) * size * _DAMPING
    # With rows and columns reversed, the lower triangle is an upper one: H = R R^T, U = 1 / R.
    root = torch.linalg.cholesky(moments.flip(0, 1)).flip(0, 1)
    eye = torch.eye(len(moments), dtype=torch.float64)
    inverse = torch.linalg.solve_triangular(root, eye, upper=True)
    return np.asarray(inverse.float().numpy(), np.float32)


def quantize_blocks(weight: Floats, inputs: Floats) -> tuple[npt.NDArray[np.uint8], Floats]:
    """A 4-bit weight [in, out], as MatMulNBits wants it, and a scale per block of 128 inputs.

    Packed [out, blocks, 64], two inputs a byte, 8 meaning 0; scales [out, blocks]. Rounding
    errors are made up for as `compensated` says.
    """
    rows, columns = weight.shape
    scales = np.ones((-(-rows // BLOCK), columns), np.float32)

    def round_row(row: int, rest: Floats) -> Floats:
        if row % BLOCK == 0:
            scales[row // BLOCK] = block_scale(rest[row : row + BLOCK])
        scale = scales[row // BLOCK]
        return np.asarray(np.clip(np.rint(rest[row] / scale), -8, 7) * scale, np.float32)

    rounded = compensated(weight, inputs, round_row)
    levels = np.full((len(scales) * BLOCK, columns), 8, np.uint8)
    levels[:rows] = np.rint(rounded / np.repeat(scales, BLOCK, 0)[:rows]) + 8
    pairs = levels.T.reshape(columns, len(scales), BLOCK // 2, 2)
    packed = np.asarray(pairs[..., 0] | pairs[..., 1] << 4, np.uint8)
    return packed, np.ascontiguousarray(scales.T)


def block_scale(block: Floats) -> Floats:
    """A scale per column [out] that 4 bits allow a block of a weight [in, out].

    The largest value becomes -8, which has one level more than the positive side.
    """
    largest = np.take_along_axis(block, np.abs(block).argmax(0)[None], 0)[0]
    return np.where(largest == 0, 1, -largest / 8).astype(np.float32)


def quantize_rows(table: Floats) -> tuple[Int8s, Floats]:
    """Int8 table [rows, width] and a scale per row [rows, 1]."""
    small = np.empty(table.shape, np.int8)
    scale = np.empty((len(table), 1), np.float32)
    # In parts: copies of 128,100 rows in float32 would be the largest arrays of an export.
    for start in range(0, len(table), _TABLE_ROWS):
        part = slice(start, start + _TABLE_ROWS)
        found = np.abs(table[part]).max(1, keepdims=True) / 127
        scale[part] = np.where(found == 0, 1, found)
        small[part] = np.clip(np.rint(table[part] / scale[part]), -127, 127)
    return small, scale
