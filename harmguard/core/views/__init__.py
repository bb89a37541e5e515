"""Views of a text: as it is, cleaned of what hides it, and decoded. The guard scores each.

The rules are `views-1` of docs/bundle-format.md. They are the same in every Python and need no
Unicode tables but their own.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from harmguard.core.views.ciphers import deciphered, unleeted
from harmguard.core.views.clean import clean
from harmguard.core.views.escapes import from_codes, from_words, unescaped
from harmguard.core.views.gaps import parted, unrepeated, unsplit
from harmguard.core.views.tables import class_string, code_points

ViewName = Literal["text", "cleaned", "decoded", "payload"]

MOST = 3
"""Views of a text."""
SHORTEST = 16
"""Characters that a payload must have to be a view of its own."""
MOST_OF_TEXT = 0.95
"""Share of a decoded text above which a payload is no other text."""
ROUNDS = 2
"""Decodings within decodings that are undone."""

_DECODERS = (unescaped, from_codes, from_words, unrepeated, unleeted, unsplit, deciphered, parted)


class View(NamedTuple):
    """One reading of a text."""

    name: ViewName
    text: str


class PairView(NamedTuple):
    """One reading of a prompt and its response (None in a prompt alone)."""

    name: ViewName
    prompt: str
    response: str | None


def views_of(text: str) -> tuple[View, ...]:
    """One to three views that differ, the text as it is first; of any `str`, in linear time."""
    cleaned = clean(text) or text
    decoded = decode(cleaned)
    views = [View("text", text)]
    if cleaned != text:
        views.append(View("cleaned", cleaned))
    if decoded != cleaned:
        views.append(View("decoded", decoded))
    if 1 < len(views) < MOST:
        payload = _payload(text, decoded, decoded != cleaned)
        if payload:
            views.append(View("payload", payload))
    return tuple(views)


def in_place(text: str) -> str:
    """The text cleaned and decoded: the last of its views that leaves nothing out."""
    return decode(clean(text) or text) or text


def views_of_pair(prompt: str, response: str | None) -> tuple[PairView, ...]:
    """One to three views of a prompt, or of an exchange: both sides in the same view.

    A side without such a view of its own is in its nearest: cleaned for decoded, as it is for
    cleaned, decoded for payload.
    """
    if response is None:
        return tuple(PairView(name, text, None) for name, text in views_of(prompt))
    sides = [dict(views_of(prompt)), dict(views_of(response))]
    names = [name for name in _NAMES if any(name in side for side in sides)][:MOST]
    return tuple(PairView(name, *(_nearest(side, name) for side in sides)) for name in names)


_NAMES: tuple[ViewName, ...] = ("text", "cleaned", "decoded", "payload")


def _nearest(side: dict[ViewName, str], name: ViewName) -> str:
    upto = _NAMES[: _NAMES.index(name) + 1]
    return next(side[one] for one in reversed(upto) if one in side)


def _payload(text: str, found: str, decoded: bool) -> str:
    """What was hidden, without the words around it; nothing if it is short or nearly all."""
    before = _common(text, found)
    after = _common(text[before:][::-1], found[before:][::-1])
    # Cut between words.
    start = found.rfind(" ", 0, before + 1) + 1
    end = found.find(" ", max(len(found) - after, start))
    payload = found[start : end if end >= 0 else len(found)].strip(" \n")
    whole = len(found.strip(" \n"))
    most = whole * MOST_OF_TEXT if decoded else whole - 1
    if not SHORTEST <= len(payload) <= most:
        return ""
    # What was cleaned only, letter by letter, was not hidden behind the words around it.
    seen = text[start : len(text) - (len(found) - end if end >= 0 else 0)]
    hidden = decoded or 2 * len(_NOT_LETTERS.sub("", class_string(seen))) < len(payload)
    return payload if hidden else ""


def _common(one: str, other: str) -> int:
    """How many characters both begin with."""
    size = min(len(one), len(other))
    differ = code_points(one[:size]) != code_points(other[:size])
    return int(differ.argmax()) if differ.any() else size


_NOT_LETTERS = re.compile("[^acojtbh]+")


def decode(cleaned: str) -> str:
    """A cleaned text decoded where that makes words of it, cleaned again; the same if nowhere."""
    for _ in range(ROUNDS):
        for decoder in _DECODERS:
            decoded = decoder(cleaned)
            if decoded != cleaned:
                cleaned = clean(decoded)
                break
        else:
            break
    return cleaned
