"""Weights in 8 bits, so that every processor computes the same integers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Int8s = npt.NDArray[np.int8]

# x86 without VNNI adds two products of a u8 and an s8 in 16 bits, saturating: 255 * 128 < 2**15.
PAIR_LIMIT = 128


def quantize_columns(weight: Floats) -> tuple[Int8s, Floats]:
    """Int8 weight [in, out] and a scale per column: weight is about q * scale.

    The scale keeps every two neighbours that one 16-bit addition takes together, rows 2k and
    2k + 1, within PAIR_LIMIT, so that the addition cannot saturate whatever the activations.
    """
    even = len(weight) // 2 * 2
    pairs = np.abs(weight[0:even:2] + weight[1:even:2]).max(0)
    # One less, for rounding can add one half to each of the two.
    scale = np.maximum(np.abs(weight).max(0) / 127, pairs / (PAIR_LIMIT - 1))
    scale = np.where(scale == 0, 1, scale).astype(np.float32)
    return np.clip(np.rint(weight / scale), -127, 127).astype(np.int8), scale


def quantize_rows(table: Floats) -> tuple[Int8s, Floats]:
    """Int8 table [rows, width] and a scale per row [rows, 1]."""
    scale = np.abs(table).max(1, keepdims=True) / 127
    scale = np.where(scale == 0, 1, scale).astype(np.float32)
    return np.clip(np.rint(table / scale), -127, 127).astype(np.int8), scale
