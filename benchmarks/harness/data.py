"""The development set, read from the folder that HARMGUARD_DATA names."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from benchmarks.harness.errors import BenchmarkDataError
from benchmarks.harness.results import INPUTS, read_json, write_text
from harmguard.bench.text import Exchange, TextMaker
from harmguard.rows import Row, read_rows

LENGTHS = INPUTS / "val_pair_lengths.json"


def pairs_like_val(texts: TextMaker, count: int, room: int) -> list[Exchange]:
    """`count` pairs with the token lengths of the development set's pairs.

    A pair longer than `room` tokens loses the end of its longer side: windows would make
    harmguard do work that the others leave out by cutting.
    """
    lengths = read_json(LENGTHS)["pairs"]
    if count > len(lengths):
        raise BenchmarkDataError(f"{count} pairs asked for; {LENGTHS.name} has {len(lengths)}")
    fitted = (_fitted(prompt, response, room) for prompt, response in lengths[:count])
    return [(texts.text(prompt), texts.text(response)) for prompt, response in fitted]


def data_given() -> bool:
    """Whether HARMGUARD_DATA names a folder."""
    return bool(os.environ.get("HARMGUARD_DATA"))


def data_folder(holds: str) -> Path:
    """The folder that HARMGUARD_DATA names. BenchmarkDataError without it."""
    folder = os.environ.get("HARMGUARD_DATA")
    if not folder:
        raise BenchmarkDataError(
            f"HARMGUARD_DATA is not set; expected the folder that holds {holds}"
        )
    return Path(folder)


def val_rows() -> list[Row]:
    """All rows of val.jsonl.gz. BenchmarkDataError without the folder, DataError by its reader."""
    return read_rows(data_folder("val.jsonl.gz") / "val.jsonl.gz", need=("label",))


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write rows as JSON lines."""
    lines = (json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in rows)
    write_text(path, "".join(lines))


def _fitted(prompt: int, response: int, room: int) -> tuple[int, int]:
    over = max(0, prompt + response - room)
    if prompt > response:
        prompt = max(1, prompt - over)
    else:
        response = max(1, response - over)
    return min(prompt, room - 1), min(response, room - 1)
