"""Labelled rows on disk -> `Row`: JSON Lines (plain or gzip), CSV, Parquet; one reader for all.

A row needs `prompt`; everything else is optional: `response`, `label` (1 harmful, 0 not),
`soft` (a teacher's P(harmful)), `source`, `tier` (A, B or C: label quality), `licence`,
`task` ("prompt": the label is about the prompt alone), `weight`, `id`.
"""

from __future__ import annotations

import csv
import gzip
import json
import math
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from harmguard.errors import DataError, MissingExtraError

Kind = Literal["prompt", "exchange"]
KINDS = ".jsonl, .jsonl.gz, .csv or .parquet"
DAMAGED = (EOFError, gzip.BadGzipFile, zlib.error, UnicodeDecodeError, csv.Error)  # while reading
TEXTS = ("prompt", "response", "id", "source", "tier", "licence")
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Row:
    """One labelled pair; `response` None means a prompt alone, `label` None no hard label."""

    id: str
    prompt: str
    response: str | None
    label: int | None
    soft: float | None = None
    source: str = "unknown"
    tier: str = "A"
    licence: str = "unknown"
    task: str = ""
    weight: float = 1.0

    @property
    def kind(self) -> Kind:
        """What the label is about: a prompt alone or an exchange."""
        return "prompt" if self.response is None else "exchange"

    @property
    def pair(self) -> tuple[str, str | None]:
        """The texts as the guard takes them."""
        return self.prompt, self.response

    @property
    def hard(self) -> int | None:
        """The hard label: the row's own, else the soft one above .5 (HarmAug, section 3)."""
        if self.label is not None or self.soft is None:
            return self.label
        return int(self.soft > 0.5)


def read_rows(path: Path) -> list[Row]:
    """All rows of a `.jsonl`, `.jsonl.gz`, `.csv` or `.parquet` file, in order.

    An empty `response` in a row whose `task` is "prompt" or absent means a prompt alone.
    Raises DataError with the line number (Parquet: the row's) for anything that cannot be read
    as a row, or for a damaged file, MissingExtraError for Parquet without pyarrow.
    """
    if not path.is_file():
        raise DataError(f"no data file named {path.name}; expected {KINDS}")
    rows = [_row(value, number, path.name) for number, value in _values(path)]
    if not rows:
        raise DataError(f"{path.name} holds no rows; expected at least one")
    return rows


def _values(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    name = path.name
    if name.endswith(".parquet"):
        yield from enumerate(read_parquet(path), 1)
        return
    if not name.endswith((".jsonl", ".jsonl.gz", ".csv")):
        raise DataError(f"{name}: unknown kind of file; expected {KINDS}")
    try:
        yield from _csv(path) if name.endswith(".csv") else _json_lines(path)
    except DAMAGED as error:
        raise DataError(
            f"{name}: unreadable ({cause(error)}); likely truncated, damaged or not UTF-8"
        ) from None


def _csv(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        for record in reader:
            yield reader.line_num, {k: v for k, v in record.items() if v is not None}


def _json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    opened = gzip.open if path.name.endswith(".gz") else open
    with opened(path, "rt", encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, _json_object(line, number, path.name)


def cause(error: Exception) -> str:
    """What a message may say of an error of reading: nothing of the texts."""
    # These two name what went wrong (a field over csv's limit, a bad block); others quote bytes.
    return str(error) if isinstance(error, (csv.Error, zlib.error)) else type(error).__name__


def has_surrogate(text: str) -> bool:
    """Whether half of a character stands alone in it: such a text cannot be written as UTF-8."""
    return _SURROGATE.search(text) is not None


def parquet(name: str) -> tuple[Any, Any]:
    """The modules pyarrow and pyarrow.parquet. Raises MissingExtraError naming file `name`."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingExtraError(
            f"{name} needs pyarrow, not installed here; type: pip install 'harmguard[train,scale]'"
        ) from None
    return pyarrow, pyarrow.parquet


def read_parquet(path: Path) -> list[dict[str, Any]]:
    """The records of a Parquet file. Raises DataError when it is none."""
    arrow, files = parquet(path.name)
    try:
        found: list[dict[str, Any]] = files.read_table(path).to_pylist()
    except (arrow.ArrowException, OSError) as error:
        raise DataError(
            f"{path.name}: unreadable ({type(error).__name__}); likely truncated or no Parquet file"
        ) from None
    return found


def _json_object(line: str, number: int, name: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{name}, line {number}: not JSON at column {error.colno}; expected one object a line"
        ) from None
    except (ValueError, RecursionError) as error:  # a number too long, values nested too deep
        raise DataError(
            f"{name}, line {number}: unreadable ({cause(error)}); expected one object a line"
        ) from None
    if not isinstance(value, dict):
        raise DataError(f"{name}, line {number}: a {type(value).__name__}; expected an object")
    return value


def _row(value: dict[str, Any], number: int, name: str) -> Row:
    def fail(field: str, expected: str) -> DataError:
        return DataError(f"{name}, line {number}: {field} is missing or wrong; expected {expected}")

    for field in TEXTS:
        if has_surrogate(str(value.get(field))):
            raise fail(field, "valid Unicode, without lone surrogates; likely cut in a character")
    prompt, response = value.get("prompt"), value.get("response")
    if not isinstance(prompt, str) or not prompt:
        raise fail("prompt", "a non-empty string")
    if response is not None and not isinstance(response, str):
        raise fail("response", 'a string, "" or null')
    task = str(value.get("task") or "")
    if task not in ("", "prompt", "response"):
        raise fail("task", '"prompt" or "response"')
    if task == "prompt" or (response == "" and task == ""):
        response = None
    label, soft, weight = _numbers(value, fail)
    return Row(
        id=str(value.get("id") or f"{name}:{number}"),
        prompt=prompt,
        response=response,
        label=label,
        soft=soft,
        source=str(value.get("source") or "unknown"),
        tier=str(value.get("tier") or "A"),
        licence=str(value.get("licence") or "unknown"),
        task=task,
        weight=weight,
    )


def _numbers(
    value: dict[str, Any], fail: Callable[[str, str], DataError]
) -> tuple[int | None, float | None, float]:
    label, soft, weight = (_number(value.get(key)) for key in ("label", "soft", "weight"))
    if label not in (None, 0.0, 1.0):
        raise fail("label", "1 (harmful), 0 (not) or absent")
    if soft is not None and not 0.0 <= soft <= 1.0:
        raise fail("soft", "a probability in [0, 1] or absent")
    if weight is not None and not 0.0 <= weight < math.inf:
        raise fail("weight", "a number of at least 0")
    return None if label is None else int(label), soft, 1.0 if weight is None else weight


def _number(value: Any) -> float | None:
    """A number or numeric string as a float; None for absent; NaN (so refused) for the rest."""
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return math.nan
    try:
        return float(value)
    except (ValueError, OverflowError):
        return math.nan
