"""Which generated instructions are kept, and why the others are not."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence

import numpy as np

from harmguard.training.harmaug.plan import Filters

REASONS = ("empty", "refusal", "too short", "too long", "language", "copy", "near-duplicate")

_REFUSAL = re.compile(
    r"\b(?:i(?:'m| am)? (?:can ?not|can't|unable|not able|won't|will not|must decline|do not feel)"
    r"|i(?:'m| am) (?:so |very |really )?sorry|as an ai\b|i apologi[sz]e|not appropriate"
    r"|against my (?:guidelines|principles|programming))",
    re.IGNORECASE,
)
_REFUSAL_WITHIN = 120  # characters; further in, the words may be quoted
# Common words that are not common in other languages too, as "in" and "an" are.
_ENGLISH = frozenset(
    "about and are at be can for from have how is it my of that the this to what when where "
    "which who why will with you your".split()
)
_SAYS_LITTLE = 4  # words up to which a text need not hold a common one
_HASHES, _BANDS = 64, 16  # two texts of similarity .7 share a band with a probability of .988
_PRIME = (1 << 31) - 1  # products of two values below it fit in 64 bits


def instruction_of(text: str) -> str:
    """The instruction in a model's answer: its first paragraph, without quotes around it."""
    first = re.split(r"\n\s*\n", text.strip(), maxsplit=1)[0].strip()
    for left, right in (('"', '"'), ("\u201c", "\u201d"), ("**", "**")):
        if len(first) > len(left + right) and first.startswith(left) and first.endswith(right):
            first = first[len(left) : -len(right)].strip()
    return first


def is_refusal(text: str) -> bool:
    """Whether a text begins as a refusal does."""
    return bool(_REFUSAL.search(text[:_REFUSAL_WITHIN].replace("\u2019", "'")))


class Sieve:
    """Judges instructions one after the other; what it kept counts against later ones."""

    def __init__(self, filters: Filters, seed: int) -> None:
        self._filters = filters
        self._kept = _Similar(filters.similar, seed)

    def reason(self, text: str, exemplars: Sequence[str]) -> str | None:
        """Why `text` is not kept, one of REASONS; None keeps it."""
        plain = self._plain_reason(text)
        if plain:
            return plain
        mine = _shingles(text)
        if any(_jaccard(mine, _shingles(e)) >= self._filters.similar for e in exemplars):
            return "copy"
        return None if self._kept.add(mine) else "near-duplicate"

    def _plain_reason(self, text: str) -> str | None:
        words = text.split()
        if not words:
            return "empty"
        if is_refusal(text):
            return "refusal"
        if len(words) < self._filters.min_words:
            return "too short"
        if len(words) > self._filters.max_words:
            return "too long"
        if self._filters.language == "en" and not _is_english(text):
            return "language"
        return None


def _is_english(text: str) -> bool:
    """Mostly Latin letters and, where it is not very short, a common English word."""
    letters = [c for c in text if c.isalpha()]
    latin = sum(unicodedata.name(c, "").startswith("LATIN") for c in letters)
    if latin < 0.9 * max(len(letters), 1):
        return False
    words = re.findall(r"[a-z']+", text.lower())
    return len(words) <= _SAYS_LITTLE or not _ENGLISH.isdisjoint(words)


def _shingles(text: str) -> frozenset[int]:
    """Hashes of a text's word trigrams, of the whole text where it has fewer words."""
    words = re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold())
    grams = [" ".join(words[i : i + 3]) for i in range(max(len(words) - 2, 1))]
    digests = (hashlib.blake2b(gram.encode(), digest_size=4).digest() for gram in grams)
    return frozenset(int.from_bytes(d, "big") % _PRIME for d in digests)


def _jaccard(a: frozenset[int], b: frozenset[int]) -> float:
    return len(a & b) / len(a | b)


class _Similar:
    """Texts kept so far; MinHash bands find the few that a new one must be compared with."""

    def __init__(self, threshold: float, seed: int) -> None:
        self._threshold = threshold
        rng = np.random.default_rng(seed)
        self._factors = rng.integers(1, _PRIME, _HASHES, dtype=np.int64)
        self._offsets = rng.integers(0, _PRIME, _HASHES, dtype=np.int64)
        self._bands: dict[bytes, list[int]] = {}
        self._texts: list[frozenset[int]] = []

    def add(self, mine: frozenset[int]) -> bool:
        """Keep a text unless one that is as similar as the threshold was kept before."""
        values = np.fromiter(sorted(mine), np.int64)
        hashes = (values[:, None] * self._factors + self._offsets) % _PRIME
        parts = hashes.min(0).reshape(_BANDS, -1)
        keys = [bytes([i]) + part.tobytes() for i, part in enumerate(parts)]
        near = {other for key in keys for other in self._bands.get(key, ())}
        if any(_jaccard(mine, self._texts[other]) >= self._threshold for other in near):
            return False
        for key in keys:
            self._bands.setdefault(key, []).append(len(self._texts))
        self._texts.append(mine)
        return True
