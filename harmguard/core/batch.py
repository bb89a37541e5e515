"""Windows -> padded batches -> logits: the one padding of training, export and run time.

A window is padded to a length that depends on its own length alone, so that its score does not
depend on what else is in its batch, also where the arithmetic depends on the padding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from harmguard.core.encode import IntArray, Window

Logits = npt.NDArray[np.float32]
Padding = Callable[[int], int]
"""From the length of a window, in tokens, to the length that it is padded to."""
Progress = Callable[[int], Any]


class Batch(NamedTuple):
    """Model inputs, int64 [rows, length]: ids, 1 on tokens and 0 on padding, token types."""

    ids: IntArray
    mask: IntArray
    types: IntArray


def padded_length(length: int, max_tokens: int) -> int:
    """What a window of `length` tokens is padded to: a step of 8, 16 or 32, at most `max_tokens`.

    Raises ValueError for a window that is longer than the model's input.
    """
    if length > max_tokens:
        raise ValueError(f"a window of {length} tokens; expected at most {max_tokens}")
    step = 8 if length <= 64 else 16 if length <= 128 else 32
    return min(-(-length // step) * step, max_tokens)


def padding_within(max_tokens: int) -> Padding:
    """The padding rule of a model whose input has at most `max_tokens` tokens."""
    return partial(padded_length, max_tokens=max_tokens)


def no_padding(length: int) -> int:
    """The padding rule of those who watch a model's layers: windows of one length together."""
    return length


def batches(lengths: Sequence[int], batch_tokens: int, padding: Padding) -> Iterator[list[int]]:
    """Indices of windows of one padded length, at most `batch_tokens` tokens a batch.

    The longest come first, so that the others fit the memory that they needed. A single window
    may be longer than `batch_tokens`.
    """
    groups: dict[int, list[int]] = {}
    for index, length in enumerate(lengths):
        groups.setdefault(padding(length), []).append(index)
    for padded in sorted(groups, reverse=True):
        size = max(1, batch_tokens // padded)
        members = groups[padded]
        for start in range(0, len(members), size):
            yield members[start : start + size]


def pad(windows: Sequence[Window], pad_id: int, padding: Padding) -> Batch:
    """One batch of the windows, padded to what the longest of them is padded to."""
    shape = len(windows), padding(max(len(window.ids) for window in windows))
    ids = np.full(shape, pad_id, np.int64)
    mask, types = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    for row, window in enumerate(windows):
        length = len(window.ids)
        ids[row, :length] = window.ids
        types[row, :length] = window.types
        mask[row, :length] = 1
    return Batch(ids, mask, types)


def window_logits(
    windows: Sequence[Window],
    run: Callable[[Batch, bool], Logits],
    *,
    pad_id: int,
    padding: Padding,
    batch_tokens: int,
    progress: Progress | None = None,
) -> Logits:
    """Logits, float32 [windows, 2] in input order, by a model that runs one batch at a time.

    `run` gets a batch, and whether it is the last one, and returns float32 [rows, 2].
    """
    logits = np.empty((len(windows), 2), np.float32)
    plan = list(batches([len(window.ids) for window in windows], batch_tokens, padding))
    for number, members in enumerate(plan, 1):
        batch = pad([windows[member] for member in members], pad_id, padding)
        logits[members] = run(batch, number == len(plan))
        if progress is not None:
            progress(len(members))
    return logits
