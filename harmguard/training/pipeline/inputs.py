"""What stages read: rows with ids that differ, and how a manifest describes the files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harmguard.errors import DataError
from harmguard.training.data import KINDS, Row, sha256_of
from harmguard.training.pipeline.stage import Item


def unique(rows: Sequence[Row]) -> list[Row]:
    """The rows, checked to have an id each of its own: results are kept by id."""
    counts = Counter(row.id for row in rows)
    double = sum(1 for count in counts.values() if count > 1)
    if double:
        raise DataError(
            f"{double} ids stand on several of {len(rows)} rows; expected one id per row; likely "
            "the same file twice"
        )
    return list(rows)


def described(paths: Sequence[str]) -> list[dict[str, Any]]:
    """Name and hash of each file."""
    found = []
    for path in map(Path, paths):
        if not path.is_file():
            raise DataError(f"no data file named {path.name}; expected {KINDS}")
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
    more = {"response": row.response, "label": row.label, "soft": row.soft}
    return {**item, **{key: value for key, value in more.items() if value is not None}}
