"""The development set, read from the folder that HARMGUARD_DATA names."""

from __future__ import annotations

import json
import os
from pathlib import Path

from benchmarks.harness.errors import BenchmarkDataError
from benchmarks.harness.results import ROOT
from harmguard.bench.text import Pair, TextMaker
from harmguard.rows import Row, read_rows

LENGTHS = ROOT / "benchmarks" / "inputs" / "val_pair_lengths.json"


def pairs_like_val(texts: TextMaker, count: int, room: int) -> list[Pair]:
    """`count` pairs with the token lengths of the development set's pairs.

    A pair longer than `room` tokens loses the end of its longer side: windows would make
    harmguard do work that the others leave out by cutting.
    """
    lengths = json.loads(LENGTHS.read_text(encoding="utf-8"))["pairs"]
    if count > len(lengths):
        raise BenchmarkDataError(f"{count} pairs asked for; {LENGTHS.name} has {len(lengths)}")
    fitted = (_fitted(prompt, response, room) for prompt, response in lengths[:count])
    return [(texts.text(prompt), texts.text(response)) for prompt, response in fitted]


def data_given() -> bool:
    """Whether HARMGUARD_DATA names a folder."""
    return bool(os.environ.get("HARMGUARD_DATA"))


def val_rows() -> list[Row]:
    """All rows of val.jsonl.gz. BenchmarkDataError without the folder, DataError by its reader."""
    folder = os.environ.get("HARMGUARD_DATA")
    if not folder:
        raise BenchmarkDataError(
            "HARMGUARD_DATA is not set; expected the folder that holds val.jsonl.gz"
        )
    return read_rows(Path(folder) / "val.jsonl.gz", need=("label",))


def _fitted(prompt: int, response: int, room: int) -> tuple[int, int]:
    over = max(0, prompt + response - room)
    if prompt > response:
        prompt = max(1, prompt - over)
    else:
        response = max(1, response - over)
    return min(prompt, room - 1), min(response, room - 1)
