"""Labelled rows: the one reader of training, evaluation, export, benchmarks and JSONL scoring.

Imports no torch. `read_rows` reads files, `pair_of_line` one line of a stream, by the same rules.
"""

from __future__ import annotations

from harmguard.rows.formats import FORMATS, read_records
from harmguard.rows.row import Row, has_surrogate, pair_of_line, read_rows

__all__ = [
    "FORMATS",
    "Row",
    "has_surrogate",
    "pair_of_line",
    "read_records",
    "read_rows",
]
