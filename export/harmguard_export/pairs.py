"""The texts of the parity gate, and the golden pairs that a bundle carries."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harmguard.core.batch import Logits
from harmguard.core.encode import Encoded
from harmguard.core.scores import text_scores
from harmguard.errors import ExportError
from harmguard.inputs import Pair
from harmguard.rows import read_rows

GOLDEN_ROWS = 64
# As many as there are, up to this, from where a small error would change the decision.
NEAR_ROWS = 16
NEAR = 0.15
# A golden pair is for checking an installation quickly: longer ones are left out.
MAX_WINDOWS = 2


@dataclass(frozen=True)
class Texts:
    """Pairs, and their labels (0 or 1) where every one has a label."""

    pairs: list[Pair]
    labels: npt.NDArray[np.int64] | None


def read_pairs(path: Path | None) -> Texts:
    """Pairs from a file of rows (harmguard.rows), labelled or not.

    None: the package's own benign and mild ones. Raises DataError with the line at fault.
    """
    rows = read_rows(path or Path(__file__).with_name("pairs.jsonl"))
    labels = [row.label for row in rows if row.label is not None]
    whole = len(labels) == len(rows) and 0 < sum(labels) < len(labels)
    return Texts([row.pair for row in rows], np.array(labels) if whole else None)


def scores_of(logits: Logits, encoded: Sequence[Encoded]) -> npt.NDArray[np.float64]:
    """P(harmful) [pairs] from the logits of all windows in order: the largest of its windows."""
    return text_scores(logits, [len(e.windows) for e in encoded])


def choose_golden(
    encoded: Sequence[Encoded], scores: npt.NDArray[np.float64], threshold: float
) -> tuple[list[int], list[int]]:
    """Indices of at most GOLDEN_ROWS pairs, and of those left out for their length.

    Those nearest to the threshold first, then evenly over the lengths.
    """
    fits = [i for i, e in enumerate(encoded) if len(e.windows) <= MAX_WINDOWS]
    if not fits:
        raise ExportError(
            f"no golden pair fits {MAX_WINDOWS} windows; expected most to; likely a model with "
            "very few positions"
        )
    distance = np.abs(scores - threshold)
    near = sorted((i for i in fits if distance[i] <= NEAR), key=lambda i: distance[i])[:NEAR_ROWS]
    rest = sorted((i for i in fits if i not in near), key=lambda i: (encoded[i].tokens, i))
    wanted = min(GOLDEN_ROWS - len(near), len(rest))
    places = np.linspace(0, len(rest) - 1, wanted).round().astype(int).tolist()
    chosen = sorted([*near, *(rest[place] for place in places)])
    return chosen, [i for i in range(len(encoded)) if i not in fits]


def golden_jsonl(
    chosen: Sequence[int],
    pairs: Sequence[Pair],
    encoded: Sequence[Encoded],
    logits: Logits,
    tolerance: float,
) -> bytes:
    """The chosen rows as golden.jsonl: `logits` are the reference's, of all windows in order."""
    ends = np.cumsum([len(e.windows) for e in encoded])
    scores = scores_of(logits, encoded)
    lines = []
    for i in chosen:
        windows = encoded[i].windows
        rows = logits[ends[i] - len(windows) : ends[i]]
        row = {
            "prompt": pairs[i][0],
            "response": pairs[i][1],
            "ids": [window.ids.tolist() for window in windows],
            "logits": [[round(float(value), 6) for value in values] for values in rows],
            "score": round(float(scores[i]), 6),
            "tolerance": tolerance,
        }
        lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    return "".join(lines).encode()
