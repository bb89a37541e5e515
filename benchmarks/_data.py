"""The development set, read from the folder that HARMGUARD_DATA names."""

from __future__ import annotations

import gzip
import json
import os
from dataclasses import dataclass
from pathlib import Path

from benchmarks._errors import BenchmarkDataError
from harmguard.bench.text import Pair, TextMaker


@dataclass(frozen=True)
class Row:
    """One labelled text: a prompt alone (`response` None) or an exchange; label 1 is harmful."""

    prompt: str
    response: str | None
    label: int
    source: str


LENGTHS = Path(__file__).parent / "inputs" / "val_pair_lengths.json"


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
    """All rows of val.jsonl.gz. BenchmarkDataError without the folder or the file."""
    folder = os.environ.get("HARMGUARD_DATA")
    if not folder:
        raise BenchmarkDataError(
            "HARMGUARD_DATA is not set; expected the folder that holds val.jsonl.gz"
        )
    path = Path(folder) / "val.jsonl.gz"
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            return [_row(line) for line in file]
    except (OSError, KeyError, ValueError) as error:
        raise BenchmarkDataError(
            f"{path.name} in HARMGUARD_DATA is unreadable ({type(error).__name__}); expected "
            "gzipped JSON lines with prompt, response, label, source and task"
        ) from None


def _row(line: str) -> Row:
    value = json.loads(line)
    # The files write a prompt alone as an empty response; the task tells it from an empty answer.
    response = value["response"] if value["task"] == "response" else None
    return Row(value["prompt"], response, int(value["label"]), value["source"])


def _fitted(prompt: int, response: int, room: int) -> tuple[int, int]:
    over = max(0, prompt + response - room)
    if prompt > response:
        prompt = max(1, prompt - over)
    else:
        response = max(1, response - over)
    return min(prompt, room - 1), min(response, room - 1)
