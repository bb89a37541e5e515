"""Weights in few bits, as Core ML's constexpr operators store them.

A weight is seen as rows [rows, columns]: rows are outputs of a layer, words of a table, or
channels of a position table. int8 has a scale per row, int4 a scale per block of at most 32
columns, palette4 a table of 16 values for at most 16 rows (for iOS 17, which has no more, one for
the whole weight).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harmguard_export.quantization.quantize import Floats

WEIGHT_FORMATS = ("fp16", "int8", "int4", "palette4")
BLOCK = 32
GROUP = 16
LEVELS = 16

_SHRINK = (1.0, 0.93, 0.86, 0.79)
_ROUNDS = 24
# Rows of a large table that are worked on at once, so that copies in float32 stay small.
_ROWS = 4096
_SMALLEST = float(np.finfo(np.float16).tiny)

Halves = npt.NDArray[np.float16]


@dataclass(frozen=True)
class Packed:
    """A weight [rows, columns] in few bits."""

    kind: str
    data: npt.NDArray[np.generic]
    """fp16: the values; int8 and int4: int8 levels; palette4: uint8 indices."""
    table: Halves
    """int8 and int4: scales [rows, blocks]; palette4: values [groups, 16]; fp16: empty."""

    def dense(self) -> Floats:
        """The float32 values that this stands for."""
        if self.kind == "fp16":
            return self.data.astype(np.float32)
        rows, columns = self.data.shape
        table = self.table.astype(np.float32)
        if self.kind == "palette4":
            group = np.arange(rows) // (rows // len(table))
            return np.asarray(table[group[:, None], self.data], np.float32)
        scales = np.repeat(table, columns // table.shape[1], 1)
        # Core ML keeps fp16 weights, so the product is rounded once more.
        product = (self.data.astype(np.float32) * scales).astype(np.float16)
        return np.asarray(product, np.float32)


def pack(weight: Floats, kind: str, *, whole: bool = False) -> Packed:
    """Store a weight [rows, columns] as `kind`, one of WEIGHT_FORMATS.

    `whole`: a palette for the whole weight.
    """
    if kind == "fp16":
        return Packed(kind, weight.astype(np.float16), np.zeros(0, np.float16))
    if kind == "palette4":
        return _palettes(weight, len(weight) if whole else divisor(len(weight), GROUP))
    block = weight.shape[1] if kind == "int8" else divisor(weight.shape[1], BLOCK)
    parts = [
        _blocks(weight[start : start + _ROWS], block, kind)
        for start in range(0, len(weight), _ROWS)
    ]
    levels, scales = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Packed(kind, levels, scales)


def divisor(number: int, most: int) -> int:
    """The largest divisor of `number` that is at most `most`."""
    return next(n for n in range(min(number, most), 0, -1) if number % n == 0)


def _blocks(weight: Floats, block: int, kind: str) -> tuple[npt.NDArray[np.int8], Halves]:
    parts = weight.reshape(len(weight), -1, block)
    if kind == "int8":
        scale = _half_scales(np.abs(parts).max(2, keepdims=True) / 127)
        levels = np.clip(np.rint(parts / scale), -127, 127)
    else:
        # The largest becomes -8, which has one level more than the positive side.
        place = np.abs(parts).argmax(2)[..., None]
        full = (-np.take_along_axis(parts, place, 2) / 8).astype(np.float32)
        scale, levels = _four_bits(parts, full)
    return levels.astype(np.int8).reshape(weight.shape), scale[..., 0].astype(np.float16)


def _four_bits(parts: Floats, full: Floats) -> tuple[Floats, Floats]:
    """Scales and levels: the full range, or a little less where that has a smaller error."""
    best = np.full(full.shape, np.inf, np.float32)
    scale, levels = np.ones_like(full), np.zeros_like(parts)
    for share in _SHRINK:
        tried = _half_scales(full * share)
        rounded = np.clip(np.rint(parts / tried), -8, 7)
        error = ((rounded * tried - parts) ** 2).sum(2, keepdims=True)
        better = error < best
        best, scale = np.where(better, error, best), np.where(better, tried, scale)
        levels = np.where(better, rounded, levels)
    return scale, levels


def _half_scales(scale: Floats) -> Floats:
    """As fp16 holds them, none nearer to 0 than its smallest normal number: a device may flush."""
    held = np.copysign(np.maximum(np.abs(scale), _SMALLEST), scale)
    return np.asarray(held.astype(np.float16), np.float32)


def _palettes(weight: Floats, group: int) -> Packed:
    indices = np.empty(weight.shape, np.uint8)
    tables = np.empty((len(weight) // group, LEVELS), np.float16)
    for number in range(len(tables)):
        rows = slice(number * group, (number + 1) * group)
        part = weight[rows]
        values = _palette(part).astype(np.float16)
        tables[number] = values
        middles = (values[1:].astype(np.float32) + values[:-1].astype(np.float32)) / 2
        indices[rows] = np.searchsorted(middles, part)
    return Packed("palette4", indices, tables)


def _palette(values: Floats) -> Floats:
    """16 rising values with a small squared error: Lloyd's algorithm on the sorted values."""
    ordered = np.sort(values, axis=None).astype(np.float64)
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    # Starts between evenly spaced and evenly populated, which is near the optimum of bell shapes.
    shares = (np.arange(LEVELS) + 0.5) / LEVELS
    even = ordered[0] + shares * (ordered[-1] - ordered[0])
    centres = (even + ordered[(shares * len(ordered)).astype(int)]) / 2
    for _ in range(_ROUNDS):
        middles = (centres[1:] + centres[:-1]) / 2
        ends = np.concatenate([[0], np.searchsorted(ordered, middles), [len(ordered)]])
        counts = np.diff(ends)
        means = np.diff(sums[ends]) / np.maximum(counts, 1)
        centres = np.where(counts > 0, means, centres)
    return np.asarray(np.sort(centres), np.float32)


def identifier(name: str) -> str:
    """The name of a weight in a program, where a saved one has letters, digits and _ only."""
    return "weight_" + name.replace(".", "_")
