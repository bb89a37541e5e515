"""Weights and activations in 8 bits, so that every processor computes the same integers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Int8s = npt.NDArray[np.int8]

# x86 without VNNI adds two products of a u8 and an s8 in 16 bits, saturating: 255 * 128 < 2**15.
PAIR_LIMIT = 128
# Signed activations in [-1, 1] as u8: round(x * 127) + 128.
SIGNED_ZERO, SIGNED_STEPS = 128, 127
# GELU never goes below -0.17, so its 8 bits are spent on the positive side.
GELU_ZERO, GELU_STEPS = 20, 235
GELU_LEAST = 0.17 * GELU_STEPS / GELU_ZERO

_POWERS = np.arange(0, 1.01, 0.1)
_DAMPING = 0.02


def round_signed(x: Floats) -> Floats:
    """What signed activations in [-1, 1] become in 8 bits."""
    steps = np.clip(np.rint(x * SIGNED_STEPS), -SIGNED_ZERO, 255 - SIGNED_ZERO)
    return np.asarray(steps / SIGNED_STEPS, np.float32)


def round_gelu(x: Floats) -> Floats:
    """What a GELU's output, divided by its range, becomes in 8 bits."""
    steps = np.clip(np.rint(x * GELU_STEPS), -GELU_ZERO, 255 - GELU_ZERO)
    return np.asarray(steps / GELU_STEPS, np.float32)


def choose_spread(largest: Floats, sample: Floats, weight: Floats) -> Floats:
    """What to divide each channel of `sample` [tokens, in] by, and multiply `weight` by.

    Dividing all channels to one range keeps the activations' small channels exact and takes
    resolution from the weights, dividing by one number does the reverse: of the powers in
    between, the one with the least error of `sample @ weight` [in, out], relative per token.
    """
    # A channel that hardly moves must not take the weights' resolution.
    largest = np.maximum(largest, max(float(np.median(largest)) / 4, 1e-6))
    exact = sample @ weight
    size = token_sizes(exact)
    best = np.inf
    chosen: Floats = largest
    for power in _POWERS:
        spread = largest**power
        spread = np.asarray(spread * (largest / spread).max(), np.float32)
        q, scale = quantize_columns(weight * spread[:, None])
        error = (round_signed(sample / spread) @ (q * scale) - exact) / size
        loss = float((error**2).mean())
        if loss < best:
            best, chosen = loss, spread
    return chosen


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
    # One less, for rounding can add one half to each of the two.
    scale = np.maximum(np.abs(weight).max(0) / 127, pairs / (PAIR_LIMIT - 1))
    return np.where(scale == 0, 1, scale).astype(np.float32)


def quantize_columns(weight: Floats, inputs: Floats | None = None) -> tuple[Int8s, Floats]:
    """Int8 weight [in, out] and a scale per column: weight is about q * scale.

    With `inputs` [tokens, in], what rounding one row loses is made up for by the rows after it
    as far as the inputs are correlated (Frantar et al., arXiv:2210.17323), so that the error
    of `inputs @ weight` is less than that of rounding alone.
    """
    scale = column_scales(weight)
    if inputs is None:
        return np.clip(np.rint(weight / scale), -127, 127).astype(np.int8), scale
    upper = _inverse_root(inputs)
    rest = (weight / scale).astype(np.float32)
    q = np.zeros_like(rest)
    for row in range(len(rest)):
        low, high = np.float32(-127), np.float32(127)
        if row % 2:
            low = np.maximum(low, -PAIR_LIMIT - np.minimum(q[row - 1], 0))
            high = np.minimum(high, PAIR_LIMIT - np.maximum(q[row - 1], 0))
        q[row] = np.clip(np.rint(rest[row]), low, high)
        error = (rest[row] - q[row]) / upper[row, row]
        rest[row + 1 :] -= upper[row, row + 1 :, None] * error
    return q.astype(np.int8), scale


def _inverse_root(inputs: Floats) -> Floats:
    """Upper triangular U with U^T U the inverse of the inputs' second moments [in, in]."""
    moments = inputs.T.astype(np.float64) @ inputs
    size = max(float(np.diag(moments).mean()), 1e-12)
    inverse = np.linalg.inv(moments + np.eye(len(moments)) * size * _DAMPING)
    return np.asarray(np.linalg.cholesky((inverse + inverse.T) / 2).T, np.float32)


def quantize_rows(table: Floats) -> tuple[Int8s, Floats]:
    """Int8 table [rows, width] and a scale per row [rows, 1]."""
    scale = np.abs(table).max(1, keepdims=True) / 127
    scale = np.where(scale == 0, 1, scale).astype(np.float32)
    return np.clip(np.rint(table / scale), -127, 127).astype(np.int8), scale
