"""What stages read: rows with ids that differ, and how a manifest describes the files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from harmguard.core.files import sha256_of
from harmguard.errors import DataError
from harmguard.rows import FORMATS, Row, read_rows
from harmguard.training.stage import Item


def read_inputs(paths: Sequence[Path]) -> list[list[Row]]:
    """The rows of each file, with ids that differ over all of them: results are kept by id.

    The ids that `read_rows` makes (name and line) clash for files of one name in two folders:
    those that do get the beginning of their file's hash. Raises DataError for what cannot be
    read, for the same bytes twice, and for an id that files give to several rows.
    """
    parts = [read_rows(path) for path in paths]
    hashes = [sha256_of(path) for path in paths]
    for index, path in enumerate(paths):
        if hashes[index] in hashes[:index]:
            first = paths[hashes.index(hashes[index])]
            raise DataError(
                f"{path.name} holds the same bytes as {first.name}; expected each file once"
            )
    counts = Counter(row.id for part in parts for row in part)
    for part, path, digest in zip(parts, paths, hashes, strict=True):
        for index, row in enumerate(part):
            if counts[row.id] > 1 and row.id.startswith(f"{path.name}:"):
                part[index] = replace(row, id=f"{row.id}@{digest[:8]}")
    unique([row for part in parts for row in part])
    return parts


def unique(rows: Sequence[Row]) -> list[Row]:
    """The rows, checked to have an id each of its own: results are kept by id."""
    counts = Counter(row.id for row in rows)
    double = sum(1 for count in counts.values() if count > 1)
    if double:
        raise DataError(
            f"{double} ids stand on several of {len(rows)} rows; expected one id per row; likely "
            "the same rows twice"
        )
    return list(rows)


def described(paths: Sequence[str]) -> list[dict[str, Any]]:
    """Name and hash of each file."""
    found = []
    for path in map(Path, paths):
        if not path.is_file():
            raise DataError(f"no data file named {path.name}; expected {FORMATS}")
        found.append({"name": path.name, "sha256": sha256_of(path)})
    return found


def as_item(row: Row) -> Item:
    """A row as a line of a file; `read_rows` gives the same row back."""
    item: Item = {
        "id": row.id,
        "prompt": row.prompt,
        "source": row.source,
        "tier": row.tier,
        "licence": row.licence,
        "task": "prompt" if row.response is None else "response",
        "weight": row.weight,
    }
    more = {
        "response": row.response,
        "label": row.label,
        "soft": row.soft,
        "lang": row.lang or None,
    }
    return {**item, **{key: value for key, value in more.items() if value is not None}}
