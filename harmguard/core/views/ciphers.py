"""Letters put for other letters: shifts, mirrored and reversed alphabets or words, and leet.

Of every word it is known how much better it reads with each way of undoing (`reading`). A way is
taken for the stretch of words over which it gains most, if it gains enough there.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from harmguard.core.views.reading import STEP, Codes, codes, positions, word_bits
from harmguard.core.views.tables import trigram_costs

ENOUGH = 26.0
"""Bits that undoing must gain over a stretch of words."""
WORDLIKE = 4.7
"""Bits a letter below which what was undone reads like words."""
SUSPECT = 14.0
"""Bits by which a stretch of words must read worse than words do, to be looked at."""
LEET_ENOUGH = 18.0
"""Bits that a text's words must gain by the reading of digits and signs as letters."""

LEET_READS = 7.0
"""Bits a letter below which a word that was read so is a word."""
DIGIT = 5.0
"""Bits of a digit or sign within a word."""

_LOW = "abcdefghijklmnopqrstuvwxyz"
_WORD = re.compile("[A-Za-z]+")


@cache
def _alphabets() -> npt.NDArray[np.intp]:
    """Ways to put letters for letters, intp [ways, 27]; 0 is the gap. Reversed ones are last."""
    rows = [[0, *((letter + shift) % 26 + 1 for letter in range(26))] for shift in range(1, 26)]
    rows.append([0, *range(26, 0, -1)])
    rows.append([*range(27)])
    # Upside down, some letters are others.
    turned = str.maketrans("nudpqb", "unpdbq")
    rows.append([0, *(ord(c.translate(turned)) - 96 for c in _LOW)])
    return np.array(rows, np.intp)


_REVERSED = 26  # rows of `_alphabets` from here on are of reversed words


@cache
def _costs() -> npt.NDArray[np.uint8]:
    """Costs under each alphabet that keeps the order, uint8 [25 + 1, 27 ** 3]."""
    table = trigram_costs().reshape(27, 27, 27)
    rows = [table[np.ix_(row, row, row)].ravel() for row in _alphabets()[:_REVERSED]]
    return np.stack(rows)


def deciphered(text: str) -> str:
    """The text with the stretches undone that read like words after it; the same if none do."""
    if _excess(text) < SUSPECT:
        return text
    letters = codes(text)
    starts = np.flatnonzero((letters[1:-1] > 0) & (letters[:-2] == 0))
    if not len(starts):
        return text
    sizes = np.add.reduceat((letters[1:-1] > 0).astype(np.float32), starts)
    index = positions(letters)
    plain = _by_word(trigram_costs()[index], starts)
    gains = [plain - _by_word(table[index], starts) for table in _costs()]
    gains += [plain - cost for cost in _reversed_costs(letters, starts)]
    best = max(range(len(gains)), key=lambda way: _best_stretch(gains[way])[0])
    gain = gains[best]
    worth = plain - gain - WORDLIKE * sizes
    words = [found.span() for found in _WORD.finditer(text)]
    parts: list[str] = []
    last = 0
    for first, end in _stretches(gain):
        if worth[first:end].sum() > 0 or sizes[first:end].sum() < 6:
            continue
        start, stop = _with_signs(text, words[first][0], words[end - 1][1])
        start = max(start, last)
        parts += [text[last:start], _undone(text[start:stop], best)]
        last = stop
    return "".join([*parts, text[last:]]) if parts else text


_MOST_KEPT, _LONGEST_KEPT = 8192, 24
_kept: dict[str, tuple[float, ...]] = {}
"""Of tokens that were seen: bits by which each of their words costs more than words do."""


def _excess(text: str) -> float:
    """The most by which a stretch of words costs more bits than words do.

    Tokens are looked up, because most come again: arrays would take most of a clean text's time.
    """
    tokens = text.split()
    fresh = _excesses([token for token in tokens if token not in _kept])
    total = most = 0.0
    for token in tokens:
        values = fresh[token] if token in fresh else _kept.get(token)
        if values is None:  # another thread has cleared it meanwhile
            values = _excesses([token])[token]
        for value in values:
            total += value
            if total < 0:
                total = 0.0
            elif total > most:
                most = total
    if len(_kept) > _MOST_KEPT:
        _kept.clear()
    _kept.update({k: v for k, v in fresh.items() if len(k) <= _LONGEST_KEPT})
    return most


def _excesses(tokens: list[str]) -> dict[str, tuple[float, ...]]:
    if not tokens:
        return {}
    words = [_WORD.findall(token) for token in tokens]
    flat = [word for found in words for word in found]
    costs = iter(word_bits(flat).tolist() if flat else [])
    return {
        token: tuple(next(costs) - WORDLIKE * len(word) for word in found)
        for token, found in zip(tokens, words, strict=True)
    }


def _with_signs(text: str, start: int, stop: int) -> tuple[int, int]:
    """The stretch with the signs that touch it: a reversed full stop stands before its word."""
    while start > 0 and _is_sign(text[start - 1]):
        start -= 1
    while stop < len(text) and _is_sign(text[stop]):
        stop += 1
    return start, stop


def _is_sign(c: str) -> bool:
    return "!" <= c <= "~" and not ("0" <= c <= "9" or _is_letter(c))


def _by_word(costs: npt.NDArray[np.uint8], starts: Codes) -> npt.NDArray[np.float32]:
    """Bits of each word, float32 [words]."""
    return np.add.reduceat(costs.astype(np.float32), starts) * np.float32(STEP)


def _reversed_costs(letters: Codes, starts: Codes) -> Iterator[npt.NDArray[np.float32]]:
    back = letters[::-1]
    ahead = np.flatnonzero((back[1:-1] > 0) & (back[:-2] == 0))
    for row in _alphabets()[_REVERSED:]:
        yield _by_word(trigram_costs()[positions(row[back])], ahead)[::-1]


def _best_stretch(gain: npt.NDArray[np.floating[Any]]) -> tuple[float, int]:
    """The largest sum of neighbouring values, and the index of its last."""
    total = np.concatenate([[0.0], np.cumsum(gain, dtype=np.float64)])
    rise = total[1:] - np.minimum.accumulate(total)[:-1]
    last = int(rise.argmax())
    return float(rise[last]), last


def _stretches(gain: npt.NDArray[np.float32]) -> Iterator[tuple[int, int]]:
    """Stretches of words that gain ENOUGH, each until the gain falls by as much again."""
    start, total, peak, peak_end = 0, 0.0, 0.0, 0
    for index, value in enumerate(gain.tolist()):
        total += value
        if total > peak:
            peak, peak_end = total, index + 1
        if total <= 0 or total < peak - ENOUGH:
            if peak >= ENOUGH:
                yield start, peak_end
            start, total, peak = index + 1, 0.0, 0.0
    if peak >= ENOUGH:
        yield start, peak_end


_FIRST = frozenset(
    "how what why who when where which can could would give write tell explain is are do does i "
    "the please create make describe list show help provide generate should if in a".split()
)


def _undone(text: str, way: int) -> str:
    row = _alphabets()[way].tolist()
    if way < _REVERSED or row != list(range(27)):
        low = "".join(_LOW[code - 1] for code in row[1:])
        text = text.translate(str.maketrans(_LOW + _LOW.upper(), low + low.upper()))
    if way < _REVERSED:
        return text
    # Words may each be reversed where they stand, or all of the text: what begins it tells.
    if _starts(text) > 0:
        return _TOKEN.sub(lambda found: found.group()[::-1], text)
    return text[::-1]


_LOWER = str.maketrans(_LOW.upper(), _LOW)
_TOKEN = re.compile("[^ \n\t]+")
_ENDS = "?!."


def _starts(text: str) -> int:
    """Above 0 if reversed words stand in the order of reading, below if that is reversed too."""
    tokens = _TOKEN.findall(text)
    first, last = tokens[0][::-1], tokens[-1][::-1]
    clues = [
        (_bare(first) in _FIRST, _bare(last) in _FIRST),
        ("A" <= first[:1] <= "Z", "A" <= last[:1] <= "Z"),
        (last[-1:] in _ENDS, first[-1:] in _ENDS),
        (_bare(first) in _NEVER_LAST, _bare(last) in _NEVER_LAST),
    ]
    return sum(here - there for here, there in clues)


def _bare(word: str) -> str:
    return "".join(c for c in word.translate(_LOWER) if "a" <= c <= "z")


_NEVER_LAST = frozenset(
    "a an the to of in on for with and or how what my your his her their if from by at as is are "
    "some that which do can".split()
)


_LEET = str.maketrans("034578@$+9", "oeastbastg")
_LEET_OPTIONS = {"1": "il", "|": "li", "!": "il", "6": "gb"}
MOST_OPTIONS = 3
"""Digits and signs of two meanings in a word that are tried one by one; of more, all the same."""
_LEET_MANY = (
    ("\\/\\/", "w"), ("|\\/|", "m"), ("/\\/\\", "m"), ("|-|", "h"), ("|\\|", "n"), ("|_|", "u"),
    ("()", "o"), ("/\\", "a"), ("\\/", "v"), ("|)", "d"), ("|<", "k"), ("><", "x"), ("|=", "f"),
    ("|*", "p"), ("|2", "r"), ("[]", "o"), ("|3", "b"), ("|>", "p"), ("vv", "w"),
)  # fmt: skip
_LEET_WORD = re.compile(
    r"(?<![A-Za-z0-9@$!|+])[A-Za-z0-9@$!|+]*[A-Za-z@$|+0-9](?![A-Za-z0-9@$|+])", re.ASCII
)
_LEET_SIGN = re.compile("[0134578@$!|+69]")
_LEET_MIX = re.compile("[A-Za-z][0134578@$!|+69]|[0134578@$!|+69][A-Za-z]")


def unleeted(text: str) -> str:
    """Digits and signs read as letters that they look like, in a text where that makes words."""
    if not _LEET_MIX.search(text) and "|" not in text:
        return text
    many = text
    if sum(text.count(shape) for shape, _ in _LEET_MANY[:8]) > 2:
        for shape, letter in _LEET_MANY:
            many = many.replace(shape, letter)
    found = [one for one in _LEET_WORD.finditer(many) if _LEET_SIGN.search(one.group())]
    if not found:
        return text
    source = [one.group() for one in found]
    read, costs = _leet_read(source)
    # A digit in a word says as much as a letter that nothing leads to.
    signs = [DIGIT * sum(not _is_letter(c) for c in word) for word in source]
    gain = word_bits(source) + np.array(signs, np.float32) - costs
    fluent = costs < LEET_READS * np.array([len(word) for word in read])
    worth = [
        bool(better) and all(map(_is_letter, word))
        for better, word in zip((gain > 0) & fluent, read, strict=True)
    ]
    mixed = [bool(_LEET_MIX.search(word)) for word in source]
    evidence = np.array(worth) & np.array(mixed)
    if float(gain[evidence].sum()) < LEET_ENOUGH:
        return text
    parts: list[str] = []
    last = 0
    for one, taken, word in zip(found, worth, read, strict=True):
        if taken or one.group() in _ALONE:
            parts += [many[last : one.start()], _ALONE.get(one.group(), word)]
            last = one.end()
    return "".join([*parts, many[last:]])


_ALONE = {"1": "I", "4": "a", "@": "a", "!": "I", "|": "I"}


def _is_letter(c: str) -> bool:
    return "a" <= c <= "z" or "A" <= c <= "Z"


def _leet_read(words: list[str]) -> tuple[list[str], npt.NDArray[np.float32]]:
    """The reading of each word that costs least, and its cost in bits, float32 [words]."""
    tried: list[str] = []
    owners: list[int] = []
    for number, word in enumerate(words):
        plain = word.translate(_LEET)
        places = [place for place, c in enumerate(plain) if c in _LEET_OPTIONS]
        if len(places) <= MOST_OPTIONS:
            choices = list(itertools.product(*(_LEET_OPTIONS[plain[place]] for place in places)))
        else:
            choices = [tuple(_LEET_OPTIONS[plain[p]][way] for p in places) for way in (0, 1)]
        for choice in choices:
            letters = list(plain)
            for place, letter in zip(places, choice, strict=True):
                letters[place] = letter
            tried.append("".join(letters))
            owners.append(number)
    costs = word_bits(tried)
    best = np.full(len(words), np.inf, np.float32)
    read = [""] * len(words)
    for owner, word, cost in zip(owners, tried, costs.tolist(), strict=True):
        if cost < best[owner]:
            best[owner], read[owner] = cost, word
    return read, best
