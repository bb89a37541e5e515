"""Labelled rows -> scores, through a bundle's public API, with a progress bar on stderr."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tqdm import tqdm

from harmguard import HarmGuard, Verdict
from harmguard.errors import DataError, InputError
from harmguard.training.data import Row

_BLOCK = 256


def score_bundle(guard: HarmGuard, rows: Sequence[Row]) -> list[Verdict]:
    """One verdict per row, in order.

    Raises:
        DataError: the guard does not take a row's text; the message counts from the row it names.
    """
    verdicts: list[Verdict] = []
    with tqdm(total=len(rows), unit="rows", desc="score", file=sys.stderr, disable=None) as bar:
        for start in range(0, len(rows), _BLOCK):
            block = rows[start : start + _BLOCK]
            try:
                verdicts += guard.check_many([row.pair for row in block])
            except InputError as error:
                raise DataError(f"rows counted from {start}: {error}") from error
            bar.update(len(block))
    return verdicts
