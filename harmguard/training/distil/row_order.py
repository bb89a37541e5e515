"""The order of rows for a whole run, fixed before it starts by the seed alone.

The plan of all epochs is one list, read from front to back: a resumed run needs no
random state for its data, and skips exactly the steps that were done.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from harmguard.rows import Row
from harmguard.training.distil.config import DRAWN

LENGTH_POOL_BATCHES = 100  # rows are sorted by length within pools of this many batches


def plan(
    rows: Sequence[Row],
    lengths: Sequence[int],
    *,
    epochs: int,
    batch_rows: int,
    balance: bool | str,
    seed: int,
) -> list[list[int]]:
    """Batches of row indices for all epochs, rows of like length together.

    With `balance` DRAWN, an epoch is `len(rows)` independent draws with replacement, in which
    each hard label is equally likely: a batch is a draw, and lengths order the rows within it
    alone. With `balance` true, an epoch takes as many harmful as benign rows of each kind of input:
    all rows of the smaller side, and a share of the larger one that moves on from epoch to
    epoch without repeats until it is used up. The rows left over at the end of an epoch
    (fewer than a batch) are dropped; an epoch of less than one batch repeats its rows up to one.
    """
    rng = np.random.default_rng(seed)
    if balance == DRAWN:
        return _drawn(rows, lengths, epochs, batch_rows, rng)
    takers = [_Taker(group, rng) for group in _groups(rows, bool(balance))]
    batches: list[list[int]] = []
    for _ in range(epochs):
        epoch = rng.permutation(np.concatenate([taker.take() for taker in takers]))
        if len(epoch) < batch_rows:
            epoch = np.resize(epoch, batch_rows)
        batches.extend(_by_length(epoch, lengths, batch_rows, rng))
    return batches


def _drawn(
    rows: Sequence[Row],
    lengths: Sequence[int],
    epochs: int,
    batch_rows: int,
    rng: np.random.Generator,
) -> list[list[int]]:
    counts = Counter(row.hard for row in rows)
    chances = np.array([1.0 / (len(counts) * counts[row.hard]) for row in rows])
    batches = []
    for _ in range(epochs):
        count = max(len(rows), batch_rows)
        draws = rng.choice(len(rows), count, p=chances / chances.sum()).tolist()
        for start in range(0, count - batch_rows + 1, batch_rows):
            # The step's sum is the same in any order; this one pads less.
            batches.append(sorted(draws[start : start + batch_rows], key=lambda i: lengths[i]))
    return batches


class _Taker:
    """Hands out one epoch's rows of one group; `quota` of them, reshuffled when used up."""

    def __init__(self, group: tuple[list[int], int], rng: np.random.Generator) -> None:
        self._members, self._quota = np.array(group[0], np.int64), group[1]
        self._rng = rng
        self._left = np.empty(0, np.int64)

    def take(self) -> np.ndarray:
        while len(self._left) < self._quota:
            self._left = np.concatenate([self._left, self._rng.permutation(self._members)])
        taken, self._left = self._left[: self._quota], self._left[self._quota :]
        return taken


def _groups(rows: Sequence[Row], balance: bool) -> Iterator[tuple[list[int], int]]:
    """Row indices by (kind, hard label), each with how many an epoch takes of them."""
    kinds: dict[str, dict[int | None, list[int]]] = {}
    for index, row in enumerate(rows):
        kinds.setdefault(row.kind, {}).setdefault(row.hard, []).append(index)
    for groups in kinds.values():
        quota = min(len(members) for members in groups.values())
        for label in sorted(groups, key=str):
            yield groups[label], quota if balance and len(groups) > 1 else len(groups[label])


def _by_length(
    order: np.ndarray, lengths: Sequence[int], batch_rows: int, rng: np.random.Generator
) -> list[list[int]]:
    pool = LENGTH_POOL_BATCHES * batch_rows
    batches: list[list[int]] = []
    for start in range(0, len(order), pool):
        part = sorted(order[start : start + pool].tolist(), key=lambda i: lengths[i])
        batches.extend(part[i : i + batch_rows] for i in range(0, len(part), batch_rows))
    full = [batch for batch in batches if len(batch) == batch_rows]
    return [full[i] for i in rng.permutation(len(full))]
