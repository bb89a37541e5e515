"""How much a text reads like English words: bits a letter, by trigrams of letters.

What a decoder makes of a text is taken only if it reads better than the text did. Everything but
ASCII letters is a gap; a word's cost is that of its letters, each after the two before it, and of
the gap that ends it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import numpy.typing as npt

from harmguard.core.views.tables import trigram_costs

Codes = npt.NDArray[np.intp]

STEP = 0.75
"""Bits of one step of the table."""
READABLE = 4.0
"""Bits a letter, the gap after the word included, below which a text reads like words."""


@cache
def _letter_codes() -> npt.NDArray[np.intp]:
    table = np.zeros(256, np.intp)
    for code in range(1, 27):
        table[[64 + code, 96 + code]] = code
    return table


def codes(text: str) -> Codes:
    """Letters as 1 to 26 and gaps as 0, intp [characters + 2]: a gap before and one after."""
    found = np.zeros(len(text) + 2, np.intp)
    raw = np.frombuffer(text.encode("latin-1", "replace"), np.uint8)
    found[1:-1] = _letter_codes()[raw]
    return found


def positions(letters: Codes) -> Codes:
    """Index into a cost table of each letter and of each gap after one, intp [len(letters) - 1].

    The letter before a gap is left out, so that a word begins the same after every word.
    """
    before, last = letters[:-1], letters[1:]
    index = before * 27 + last
    index[1:] += letters[:-2] * 729 * (before[1:] > 0)
    return index


def bits_a_letter(text: str) -> float:
    """Mean cost of a letter in bits; infinite for a text without letters."""
    letters = codes(text)
    count = int(np.count_nonzero(letters))
    if not count:
        return float("inf")
    return float(trigram_costs()[positions(letters)].sum(dtype=np.int64)) * STEP / count


def word_bits(words: Sequence[str]) -> npt.NDArray[np.float32]:
    """Bits of each word's letters, float32 [words]; what is between its letters splits it."""
    text = " ".join(words)
    costs = trigram_costs()[positions(codes(text))].astype(np.float32)
    sizes = np.array([len(word) + 1 for word in words])
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    return np.add.reduceat(costs[: sizes.sum()], starts) * np.float32(STEP)


def reads(text: str, least: int = 5) -> bool:
    """Whether a text of at least `least` letters, most of it letters, reads like words."""
    letters = int(np.count_nonzero(codes(text)))
    spaces = text.count(" ") + text.count("\n")
    return (
        letters >= least
        and letters + spaces >= 0.7 * len(text)
        and bits_a_letter(text) < READABLE + (2.0 if letters >= 12 else 1.5)
    )
