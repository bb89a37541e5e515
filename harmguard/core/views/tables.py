"""The data that the views are made with: one Unicode version, whatever Python's own is.

`unicode.json` has the kinds of characters, their scripts, what is folded and what looks alike;
`trigrams.txt` how likely letters follow each other in English. Both are read at first use.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

_FOLDER = Path(__file__).parent
_CODE_POINTS = 0x110000

# Scripts whose letters a joiner or a zero-width space shapes, so that it is part of the spelling.
_JOINED = frozenset(
    "Adlm Arab Beng Deva Gujr Guru Khmr Knda Mand Mlym Mong Mymr Nkoo Orya Phag Rohg Sinh Syrc "
    "Taml Telu Tibt".split()
)
_BROKEN = frozenset("Khmr Lana Laoo Mymr Tale Talu Thai Tibt".split())
_IDEOGRAPHIC = frozenset("Bopo Hang Hani Hira Kana Yiii".split())


@cache
def unicode_table() -> dict[str, str | dict[str, str]]:
    """The file `unicode.json`."""
    loaded: dict[str, str | dict[str, str]] = json.loads(
        (_FOLDER / "unicode.json").read_text(encoding="ascii")
    )
    return loaded


@cache
def folds() -> dict[int, str]:
    """Code point -> what it is folded to wherever it stands."""
    return _expanded("fold")


@cache
def alikes() -> dict[int, str]:
    """Code point -> the ASCII letters that it looks like."""
    return _expanded("alike")


@cache
def classes() -> npt.NDArray[np.uint8]:
    """One ASCII letter for each code point, uint8 [0x110000].

    a Latin letter; c look-alike of one; h ideographic, kana, hangul; j letter or mark of a script
    with joiners; t the same of one with zero-width spaces; b both; o other letter; m mark of no
    script; n digit; z space; i ignorable; x control, private or unassigned; s symbol; p the rest.
    """
    kinds, scripts = _runs("kinds"), _runs("scripts")
    table = np.empty(_CODE_POINTS, np.uint8)
    for start, end, kind in kinds:
        table[start:end] = ord({"L": "o", "M": "m", "C": "x"}.get(kind, kind.lower()))
    letters = np.zeros(_CODE_POINTS, bool)
    for start, end, kind in kinds:
        letters[start:end] = kind in "LM"
    for start, end, script in scripts:
        found = _script_class(script)
        if found != "o":
            part = table[start:end]
            part[letters[start:end]] = ord(found)
    alike = np.array(list(alikes()))
    # Where joiners are spelling, look-alikes are: Arabic heh is not folded to an o.
    table[alike[~np.isin(table[alike], list(b"bjt"))]] = ord("c")
    table.flags.writeable = False
    return table


@cache
def script_names() -> tuple[str, ...]:
    """The names (ISO 15924) that `script_numbers` counts in; the first is of no script."""
    return ("-", *sorted({script for _, _, script in _runs("scripts")} - {"-"}))


@cache
def script_numbers() -> npt.NDArray[np.uint8]:
    """Index into `script_names` for each code point, uint8 [0x110000]; 0 for what is no letter."""
    numbers = {name: number for number, name in enumerate(script_names())}
    table = np.empty(_CODE_POINTS, np.uint8)
    for start, end, script in _runs("scripts"):
        table[start:end] = numbers[script]
    table.flags.writeable = False
    return table


def code_points(text: str) -> npt.NDArray[np.uint32]:
    """Code points of a text, uint32 [characters]; lone surrogates count as themselves."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def class_string(text: str) -> str:
    """The class of each character of a text, as a string of the same length."""
    return classes()[code_points(text)].tobytes().decode("ascii")


@cache
def trigram_costs() -> npt.NDArray[np.uint8]:
    """Cost of a letter after two others, in steps of .75 bits, uint8 [27 * 27 * 27]; 0 is a gap."""
    digits = (_FOLDER / "trigrams.txt").read_text(encoding="ascii").replace("\n", "")
    return np.array([int(digit, 16) for digit in digits], np.uint8)


def _script_class(script: str) -> str:
    if script == "Latn":
        return "a"
    if script in _JOINED:
        return "b" if script in _BROKEN else "j"
    if script in _BROKEN:
        return "t"
    return "h" if script in _IDEOGRAPHIC else "o"


def _runs(name: str) -> list[tuple[int, int, str]]:
    """(first, one past the last, value) of each run of code points."""
    text = unicode_table()[name]
    if not isinstance(text, str):
        raise TypeError(f"{name} is no list of runs")
    pairs = [part.split(":") for part in text.split()]
    starts = [int(start, 16) for start, _ in pairs]
    ends = [*starts[1:], _CODE_POINTS]
    return [(start, end, value) for start, end, (_, value) in zip(starts, ends, pairs, strict=True)]


def _expanded(name: str) -> dict[int, str]:
    groups = unicode_table()[name]
    if isinstance(groups, str):
        raise TypeError(f"{name} is no table of results")
    table: dict[int, str] = {}
    for result, ranges in groups.items():
        for part in ranges.split():
            first, _, last = part.partition("-")
            for cp in range(int(first, 16), int(last or first, 16) + 1):
                table[cp] = result
    return table
