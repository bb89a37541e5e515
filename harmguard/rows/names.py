"""Names of columns: the known ones, what is nearly one of them, and lists of them for messages.

A column named `Response` is not read, and a guard would judge prompts alone without a word: what
is nearly a known name is refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

PAIR = ("prompt", "response", "task")
KNOWN = (*PAIR, "label", "soft", "source", "tier", "licence", "lang", "weight", "id")
_LONG = 5  # letters of a known name from which one wrong letter still means it
_LISTED = 12
_PLAIN = re.compile(r"\s{0,2}[A-Za-z_][\w.-]{0,31}\s{0,2}", re.ASCII)


@lru_cache(maxsize=256)
def nearly(names: frozenset[str], known: tuple[str, ...] = KNOWN) -> tuple[str, str] | None:
    """The first name that is none of `known` and nearly one of them, and that one; else None.

    Nearly: the same letters and digits in any case, or, where the known name is not there itself
    and has five letters or more, one letter more, less, other or swapped.
    """
    for name in sorted(names - set(known)):
        letters = re.sub(r"[\W_]", "", name.casefold())
        for wanted in known:
            if letters == wanted:
                return name, wanted
            if len(wanted) >= _LONG and wanted not in names and _one_slip(letters, wanted):
                return name, wanted
    return None


def listed(names: Iterable[str]) -> str:
    """The names for a message. One that may be a text, in a file without a header, is counted."""
    found = list(names)
    plain = [name for name in found if _PLAIN.fullmatch(name)][:_LISTED]
    shown = [name if name == name.strip() else repr(name) for name in plain]
    if more := len(found) - len(plain):
        shown.append(f"{more} more" if plain else f"{more} that look like texts, not names")
    return ", ".join(shown) or "none"


def _one_slip(found: str, wanted: str) -> bool:
    """Whether one letter was added, left out, replaced, or swapped with the next."""
    if abs(len(found) - len(wanted)) > 1 or any(letter.isdigit() for letter in found):
        return False
    same = 0
    while same < min(len(found), len(wanted)) and found[same] == wanted[same]:
        same += 1
    rest, other = found[same:], wanted[same:]
    swapped = rest[:2] == other[:2][::-1] and rest[2:] == other[2:]
    return rest[1:] == other[1:] or rest[1:] == other or rest == other[1:] or swapped
