"""What a step of distillation is fed: one window of each row, labels, soft labels and weights."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from harmguard.checkpoint import Checkpoint
from harmguard.core.encode import PairEncoder, Window
from harmguard.errors import DataError
from harmguard.rows import Row
from harmguard.training.distil.config import Config
from harmguard.training.distil.loss import WIDE


class Collator:
    """Row indices -> padded model inputs, labels [B], soft [B] (NaN: none), weight [B]."""

    def __init__(
        self, rows: Sequence[Row], windows: Sequence[Window], config: Config, student: Checkpoint
    ) -> None:
        self._rows, self._windows = rows, windows
        self._weights = row_weights(rows, config.data.tier_weights)
        self._collate = student.collate

    def __call__(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """The batch of these rows."""
        windows = [self._windows[i] for i in indices]
        batch = self._collate(windows)
        rows = [self._rows[i] for i in indices]
        batch["labels"] = torch.tensor([row.hard for row in rows])
        soft = [float("nan") if row.soft is None else row.soft for row in rows]
        batch["soft"] = torch.tensor(soft, dtype=WIDE)
        batch["weight"] = torch.tensor([self._weights[i] for i in indices])
        return batch


def row_weights(rows: Sequence[Row], tiers: dict[str, float]) -> list[float]:
    """weight * tier weight of each row, scaled so that the mean over all rows is 1."""
    unknown = sorted({row.tier for row in rows} - set(tiers))
    if unknown:
        raise DataError(f"tier {unknown[0]!r} has no weight; data.tier_weights has {sorted(tiers)}")
    weights = [row.weight * tiers[row.tier] for row in rows]
    mean = sum(weights) / len(weights)
    if mean <= 0.0:
        raise DataError("every row has weight 0; expected some above it")
    return [weight / mean for weight in weights]


def encode_rows(rows: Sequence[Row], encoder: PairEncoder, seed: int) -> list[Window]:
    """One window a row: the first of a harmful row, any of a benign one.

    A harmful text may be harmful in one place only, a benign one is benign all over. Other views
    are for run time: a model is trained on what people wrote.
    """
    windows = []
    for row in rows:
        found = encoder.encode_plain(*row.pair).windows
        digest = hashlib.sha256(f"{seed}:{row.id}".encode()).digest()
        pick = int.from_bytes(digest[:4], "big") % len(found) if row.hard == 0 else 0
        windows.append(found[pick])
    return windows
