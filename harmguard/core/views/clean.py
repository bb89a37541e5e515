"""The cleaned view: a text in the letters that it shows.

The order is that of `clean`; docs/bundle-format.md has the rules in words.
"""

from __future__ import annotations

import re
from collections import Counter

from harmguard.core.views.hidden import reveal
from harmguard.core.views.reading import bits_a_letter
from harmguard.core.views.tables import alikes, class_string, folds

MOST_MARKS = 4
"""Marks in a row that stay on a letter of a script that has marks of its own."""
READS_ALIKE = 4.9
"""Bits a letter below which a text all of look-alikes is taken for English."""

_TOKENS = re.compile(
    r"\[/?(?:SEP|CLS|PAD|MASK|UNK|BOS|EOS|INST|unused\d{1,3})\]|</?(?:s|pad|unk|mask|bos|eos|sep|cls|w)>"
    r"|<\|[a-z_0-9]{1,32}\|>|<</?SYS>>|<(?:start|end)_of_turn>|\u2581",
    re.ASCII | re.IGNORECASE,
)
_PIECE = re.compile(r"(?<!\S)##+(?=[A-Za-z0-9])")
_TOKEN = "\x00"  # stands for a special token while separators are looked for


def clean(text: str) -> str:
    """The text as a reader sees it, in ASCII letters where they are or look like Latin ones."""
    text = reveal(text)
    if not text.isascii():
        text = _regional(text).translate(folds())
        if not text.isascii():
            text = _unmarked(_unlike(text))
    text = _TOKENS.sub(_TOKEN, text)
    text = _PIECE.sub("", text)
    text = joined(text)
    return text.replace(_TOKEN, " ")


_FLAG_PAIR = re.compile(
    "(?<![\U0001f1e6-\U0001f1ff])[\U0001f1e6-\U0001f1ff]{2}(?![\U0001f1e6-\U0001f1ff])"
)
_INDICATORS = re.compile("[\U0001f1e6-\U0001f1ff]+")


def _regional(text: str) -> str:
    """Keep flags from being folded to letters, by leaving out of the text those that are flags."""
    return text


def _unlike(text: str) -> str:
    """Put ASCII letters for what looks like them, in the words where that is what they are for."""
    kinds = class_string(text)
    if "c" not in kinds:
        return text
    table = alikes()
    latin = others = 0
    mixed: list[tuple[int, int]] = []
    pure: list[tuple[int, int]] = []
    for found in _WORD.finditer(kinds):
        word = found.group()
        if "c" not in word:
            latin += word.count("a")
            others += 0 if "a" in word else len(word)
        elif "a" in word:
            latin += len(word)
            mixed.append(found.span())
        elif word.strip("cmn"):
            others += len(word)
        else:
            pure.append(found.span())
    others += kinds.count("h")
    if pure:
        size = sum(end - start for start, end in pure)
        if latin < 2 * (others + size):
            read = " ".join(text[start:end] for start, end in pure).translate(table)
            if others * 4 > size or len(read) < 6 or bits_a_letter(read) > READS_ALIKE:
                pure = []
    parts: list[str] = []
    last = 0
    for start, end in sorted(mixed + pure):
        parts += [text[last:start], text[start:end].translate(table)]
        last = end
    return "".join([*parts, text[last:]])


_WORD = re.compile("[acojtbmn]*[acojtb][acojtbmn]*")


def _unmarked(text: str) -> str:
    """Drop marks but those of the scripts that have marks of their own, and of keycaps."""
    kinds = class_string(text)
    if "m" not in kinds:
        return text
    parts: list[str] = []
    last = 0
    for found in _MARKS.finditer(kinds):
        start, end = found.span()
        before = kinds[start - 1 : start]
        parts.append(text[last:start])
        if before in ("o", "c"):
            parts.append(_OVERLAY.sub("", text[start:end])[:MOST_MARKS])
        elif before in ("j", "t", "b", "h"):
            parts.append(text[start:end][:MOST_MARKS])
        elif text[start:end] == _KEYCAP and _KEYED.match(text, start - 2 if start > 1 else 0):
            parts.append(_KEYCAP)
        last = end
    return "".join([*parts, text[last:]])


_MARKS = re.compile("m+")
_KEYCAP = "\u20e3"
_KEYED = re.compile("[0-9#*]\ufe0f\u20e3")
_OVERLAY = re.compile("[\u0334-\u0338\u20d0-\u20f0\u0488\u0489]")


_SPACED = re.compile(
    r"(?<![A-Za-z0-9\x02])[A-Za-z0-9](?:[^A-Za-z0-9\x02]{1,12}[A-Za-z0-9](?![A-Za-z0-9\x02])){2,}",
    re.ASCII,
)
_ONE = re.compile("[A-Za-z0-9]")
_SHADOW = {kind: "\x02" for kind in "acojtbh"}


def joined(text: str) -> str:
    """Take out what stands between single letters, where the gaps between words differ from it."""
    shadow = text if text.isascii() else _shadow(text)
    parts: list[str] = []
    last = 0
    for found in _SPACED.finditer(shadow):
        start, end = found.span()
        parts += [text[last:start], _respaced(shadow[start:end], text[start:end])]
        last = end
    return "".join([*parts, text[last:]]) if parts else text


def _shadow(text: str) -> str:
    """The text with every other letter as U+0002 and every other sign as U+0001."""
    ascii_only = text.encode("ascii", "replace").decode("ascii")
    kinds = class_string(text)
    return "".join(
        c if t.isascii() else "\x02" if kind in "acojtbhmn" else " " if kind == "z" else "\x01"
        for c, t, kind in zip(ascii_only, text, kinds, strict=True)
    )


_GAP = re.compile("[^A-Za-z0-9]+")
_SIGNS = re.compile("\x01+")
_MARK = re.compile("[!-~]")


def _respaced(shadow: str, text: str) -> str:
    letters = _ONE.findall(shadow)
    gaps = [_MARK.sub("p", _SIGNS.sub("e", gap)) for gap in _GAP.findall(shadow)]
    counts = Counter(gaps)
    inner = min(counts, key=lambda gap: (-counts[gap], len(gap)))
    spaced = inner.isspace()
    enough = sum(not letter.isdigit() for letter in letters) * 5 >= len(letters) * 3
    if not enough or len(letters) < (4 if spaced else 3):
        return text
    out = [letters[0]]
    for gap, letter in zip(gaps, letters[1:], strict=True):
        between = gap == inner or (not spaced and " " not in gap and len(gap) <= len(inner))
        out += ["" if between else " ", letter]
    return "".join(out)
