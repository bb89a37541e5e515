"""Labelled rows with their scores, as scores.jsonl keeps them: no text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from harmguard.bundle.spec import KINDS
from harmguard.errors import DataError
from harmguard.training.evaluate import metrics


class Labelled(Protocol):
    """What `scored` needs of a row; `harmguard.rows.Row` and `Scored` have it."""

    @property
    def id(self) -> str:
        """The row's name."""

    @property
    def label(self) -> int | None:
        """1 harmful, 0 safe, None unlabelled."""

    @property
    def source(self) -> str:
        """The data set that it comes from."""

    @property
    def kind(self) -> str:
        """Prompt or exchange."""

    @property
    def lang(self) -> str:
        """The language's code, "" where it is not known."""


@dataclass(frozen=True)
class Scored:
    """One line of scores.jsonl: a row's score and what the report needs of it, without its text."""

    id: str
    score: float
    label: int
    source: str
    kind: str
    tokens: int | None = None
    windows: int | None = None
    lang: str = ""


def scored(
    rows: Sequence[Labelled],
    scores: Any,
    tokens: Sequence[int | None] | None = None,
    windows: Sequence[int | None] | None = None,
) -> list[Scored]:
    """Rows with their scores, checked.

    `scores` is P(harmful) of each row, `tokens` counts those of its texts without special ones
    (None where unknown), `windows` those that it was scored in. Raises DataError for no rows, a row
    without a label or of another kind, lengths that differ, and scores outside [0, 1].
    """
    bare = [i for i, row in enumerate(rows) if row.label is None]
    if bare:
        raise DataError(
            f"found {len(bare)} of {len(rows)} rows without a label, the first at index "
            f"{bare[0]}; expected a label of 0 or 1 in every row: is this an unlabelled file?"
        )
    odd = [i for i, row in enumerate(rows) if row.kind not in KINDS]
    if odd:
        raise DataError(f"found another kind than prompt and exchange in the row at index {odd[0]}")
    y, p = metrics.as_arrays([row.label for row in rows], scores)
    for name, given in (("tokens", tokens), ("windows", windows)):
        if given is not None and len(given) != len(rows):
            raise DataError(f"found {len(given)} values of {name} for {len(rows)} rows")
    return [
        Scored(
            row.id,
            float(p[i]),
            int(y[i]),
            row.source,
            row.kind,
            None if tokens is None else tokens[i],
            None if windows is None else windows[i],
            row.lang,
        )
        for i, row in enumerate(rows)
    ]


def read_scores(path: Path) -> list[Scored]:
    """The rows of a scores.jsonl.

    Raises DataError for no such file, no rows, or a line that is not one of `write_report`'s.
    """
    if not path.is_file():
        raise DataError(f"found no file {path.name}; expected the scores.jsonl of a report")
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            rows.append(Scored(**json.loads(line)))
        except (ValueError, TypeError) as error:
            raise DataError(
                f"line {number} of {path.name} is not a scored row; expected the scores.jsonl of "
                "a report"
            ) from error
    return scored(
        rows, [r.score for r in rows], [r.tokens for r in rows], [r.windows for r in rows]
    )
