"""Soft labels from several checkpoints: the mean of their P(harmful), one number per row.

    harmguard train ensemble OUT.jsonl ROWS.jsonl... --teachers A B C

The mean of models that differ in their seed alone scores better than each of them, and a student
of it costs one model (Hinton et al. 2015, arXiv:1503.02531, section 5).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from harmguard.checkpoint import Checkpoint, load_checkpoint
from harmguard.checkpoint.precision import has_bf16
from harmguard.core.encode import Encoded
from harmguard.core.files import new_file, refuse_existing, sha256_of
from harmguard.errors import ConfigError
from harmguard.rows import Row, read_rows


def open_scorer(
    folder: Path | str, revision: str | None = None, *, narrow: bool = False
) -> Checkpoint:
    """A checkpoint on a GPU where there is one. Raises CheckpointError.

    With `narrow` a CPU that is faster in bfloat16 computes in it.
    """
    gpu = torch.cuda.is_available()
    device, batch_tokens = ("cuda", 65_536) if gpu else ("cpu", 4096)
    bf16 = narrow and not gpu and has_bf16()
    return load_checkpoint(folder, revision, device=device, batch_tokens=batch_tokens, bf16=bf16)


class RowScorer:
    """Rows that several checkpoints score: those that share a tokenizer encode them once.

    `narrow` is as in `open_scorer`.
    """

    def __init__(self, rows: Sequence[Row], *, narrow: bool = False) -> None:
        self._rows, self._narrow = rows, narrow
        self._encoded: dict[tuple[str, int], list[Encoded]] = {}

    def scores(self, teachers: Sequence[Path]) -> npt.NDArray[np.float32]:
        """P(harmful) [rows] in [0, 1]: the mean over the checkpoints, on a GPU where there is one.

        Raises ConfigError without a teacher, CheckpointError for a folder that holds none.
        """
        if not teachers:
            raise ConfigError("no teachers; expected at least one checkpoint folder")
        total = np.zeros(len(self._rows), np.float32)
        for folder in teachers:
            scorer = open_scorer(folder, narrow=self._narrow)
            total += scorer.scores(self._encode(scorer))
        return (total / len(teachers)).astype(np.float32)

    def _encode(self, scorer: Checkpoint) -> list[Encoded]:
        file = scorer.folder / "tokenizer.json"
        name = sha256_of(file) if file.is_file() else str(scorer.folder.resolve())
        key = (name, scorer.encoder.max_tokens)
        if key not in self._encoded:
            self._encoded[key] = scorer.encode([row.pair for row in self._rows])
        return self._encoded[key]


def label(teachers: Sequence[Path], sources: Sequence[Path], out: Path) -> int:
    """Write the rows of `sources` with `soft`, the ensemble's score; returns their number.

    A row keeps its hard label. Raises OutputExistsError when `out` exists, DataError for files
    that hold no rows, and as `RowScorer.scores`.
    """
    refuse_existing(out)
    rows = [row for path in sources for row in read_rows(path)]
    soft = RowScorer(rows).scores(teachers)
    with new_file(out) as file:
        for row, score in zip(rows, soft, strict=True):
            line = {**asdict(row), "soft": round(float(score), 6)}
            file.write((json.dumps(line, ensure_ascii=False) + "\n").encode())
    return len(rows)
