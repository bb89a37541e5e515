"""Views of a text: as it is, cleaned of what hides it, and decoded. The guard scores each.

The rules are `views-1` of docs/bundle-format.md. They are the same in every Python and need no
Unicode tables but their own.
"""

from __future__ import annotations


from typing import Literal, NamedTuple

from harmguard.core.views.ciphers import deciphered, unleeted
from harmguard.core.views.clean import clean
from harmguard.core.views.escapes import from_codes, from_words, unescaped

ViewName = Literal["text", "cleaned", "decoded"]

ROUNDS = 2
"""Decodings within decodings that are undone."""

_DECODERS = (unescaped, from_codes, from_words, unleeted, deciphered)


class View(NamedTuple):
    """One reading of a text."""

    name: ViewName
    text: str


def views_of(text: str) -> tuple[View, ...]:
    """One to three views that differ, the text as it is first; of any `str`, in linear time."""
    views = [View("text", text)]
    cleaned = clean(text)
    if cleaned != text and cleaned:
        views.append(View("cleaned", cleaned))
    decoded = decode(cleaned)
    if decoded != cleaned and decoded:
        views.append(View("decoded", decoded))
    return tuple(views)


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
