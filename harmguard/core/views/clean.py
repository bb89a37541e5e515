"""The cleaned view: a text in the letters that it shows.

The order is that of `clean`; docs/bundle-format.md has the rules in words.
"""

from __future__ import annotations

import re
from collections import Counter

from harmguard.core.views.hidden import reveal, visible
from harmguard.core.views.reading import bits_a_letter, reads
from harmguard.core.views.tables import alikes, class_string, folds

MOST_MARKS = 4
"""Marks in a row that stay on a letter of a script that has marks of its own."""
MOST_PASSES = 8
"""What one pass lays bare, such as a token between look-alikes, the next one takes out."""
READS_ALIKE = 4.9
"""Bits a letter below which a text all of look-alikes is taken for English."""

_TOKENS = re.compile(
    r"\[/?(?:SEP|CLS|PAD|MASK|UNK|BOS|EOS|INST|unused\d{1,3})\]|</?(?:s|pad|unk|mask|bos|eos|sep|cls|w)>"
    r"|<\|[a-z_0-9]{1,32}\|>|<</?SYS>>|<(?:start|end)_of_turn>|\u2581",
    re.ASCII | re.IGNORECASE,
)
_PIECE = re.compile(r"(?<![^ \t\n\x00])##+(?=[A-Za-z0-9])")
_TOKEN = "\x00"  # stands for a special token while separators are looked for


def clean(text: str) -> str:
    """The text as a reader sees it, in ASCII letters where they are or look like Latin ones."""
    text = reveal(text)
    if not text.isascii():
        # Marks first: they may stand between indicators.
        text = _regional(_unmarked(text)).translate(folds())
        # Everyday Chinese, Japanese and Korean have full-width punctuation of their own.
        if not text.isascii() and "h" not in class_string(text):
            text = text.translate(_FULL_WIDTH)
    for _ in range(MOST_PASSES):
        before = text
        text = _SPACES.sub(" ", joined(_PIECE.sub("", _TOKENS.sub(_TOKEN, text))))
        if not text.isascii():
            text = visible(_regional(_unmarked(_unlike(text))))
        if text == before:
            break
    return text


_SPACES = re.compile("[\x00\t\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")
_INDICATORS = re.compile("[\U0001f1e6-\U0001f1ff]+")


def _regional(text: str) -> str:
    """Regional indicators as letters, unless all of them stand in pairs and may be flags."""
    runs = _INDICATORS.findall(text)
    if not any(len(run) % 2 for run in runs) and not reads(_letters(" ".join(runs)), 8):
        return text
    return _INDICATORS.sub(lambda found: _letters(found.group()), text)


def _letters(indicators: str) -> str:
    return "".join(c if c == " " else chr(ord(c) - 0x1F1E6 + 65) for c in indicators)


_FULL_WIDTH = {cp: chr(cp - 0xFEE0) for cp in range(0xFF01, 0xFF5F)}


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
            read = " ".join(text[start:end] for start, end in mixed + pure).translate(table)
            if others * 4 > size or len(read) < 6 or bits_a_letter(read) > READS_ALIKE:
                pure = []
    parts: list[str] = []
    last = 0
    for start, end in sorted(mixed + pure):
        parts += [text[last:start], text[start:end].translate(table)]
        last = end
    return "".join([*parts, text[last:]])


# Not from within a word: of a long number each digit would be tried.
_WORD = re.compile("(?<![acojtbmn])[mn]*[acojtb][acojtbmn]*")


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


def joined(text: str) -> str:
    """Take out what stands between single letters, where the gaps between words differ from it."""
    shadow = text if text.isascii() else _shadow(text)
    parts: list[str] = []
    last = 0
    for found in _SPACED.finditer(shadow):
        start, end = found.span()
        between, word = _respaced(shadow[start:end], text[start:end])
        # What separates the letters from the signs of the sentence, too.
        first, after = start, end
        while first > max(last, start - MOST_BESIDE) and shadow[first - 1] not in _NO_SIGNS:
            first -= 1
        while after < min(len(text), end + MOST_BESIDE) and shadow[after] not in _NO_SIGNS:
            after += 1
        head, tail = text[first:start], text[end:after]
        parts += [text[last:first], _signs(head, between) or head]
        parts += [word, _signs(tail, between) or tail]
        last = after
    return "".join([*parts, text[last:]]) if parts else text


MOST_BESIDE = 12
"""Signs beside a run of letters that are looked at."""
_PUNCTUATION = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")
_NO_SIGNS = frozenset("\x02\x03 \n\tABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")


def _signs(text: str, between: frozenset[str]) -> str:
    """The ASCII signs of a text that do not separate letters; none if nothing separates them."""
    return "".join(c for c in text if c in _PUNCTUATION and c not in between) if between else ""


def _shadow(text: str) -> str:
    """The text with look-alikes as x, other letters as U+0002, spaces U+0003, signs U+0001."""
    ascii_only = text.encode("ascii", "replace").decode("ascii")
    kinds = class_string(text).translate(_SHADOWS)
    return "".join(
        [c if t < "\x80" else kind for c, t, kind in zip(ascii_only, text, kinds, strict=True)]
    )


_SHADOWS = {
    **dict.fromkeys(map(ord, "ispx"), "\x01"),
    **dict.fromkeys(map(ord, "aojtbhmn"), "\x02"),
    ord("c"): "x",
    ord("z"): "\x03",
}


# Apostrophes join the letters of one word: "A: I'm" is no spelling.
_GAP = re.compile("[^A-Za-z0-9]+")
_SIGNS = re.compile("\x01+")
_MARK = re.compile("[\x00!-~]")
_BLANK = " \n\t\x03"
_SOME_BLANK = re.compile(f"[{_BLANK}]")


def _respaced(shadow: str, text: str) -> tuple[frozenset[str], str]:
    """What separates the letters of a run, and the run without it; nothing, and as it is."""
    found = [one.span() for one in _GAP.finditer(shadow)]
    gaps = [_MARK.sub("p", _SIGNS.sub("e", shadow[start:end])) for start, end in found]
    letters = [text[one.start()] for one in _ONE.finditer(shadow)]
    counts = Counter(gaps)
    inner = min(counts, key=lambda gap: (-counts[gap], len(gap)))
    spaced = bool(_SOME_BLANK.search(inner))
    enough = sum(not "0" <= letter <= "9" for letter in letters) * 5 >= len(letters) * 2
    if not enough or counts[inner] < (3 if spaced else 2):
        return frozenset(), text
    between = frozenset(
        c for gap, (start, end) in zip(gaps, found, strict=True) if gap == inner
        for c in text[start:end]
    )  # fmt: skip
    goes = [
        gap == inner or (not spaced and len(gap) <= len(inner) and not _SOME_BLANK.search(gap))
        for gap in gaps
    ]
    # A sign in most gaps between words parts these.
    others = [text[start:end] for gone, (start, end) in zip(goes, found, strict=True) if not gone]
    signs = Counter(c for gap in others for c in {*gap})
    between |= {c for c, count in signs.items() if 2 * count > len(others) and c in _PUNCTUATION}
    out = [letters[0]]
    for gone, (start, end), letter in zip(goes, found, letters[1:], strict=True):
        if gone:
            out.append(letter)
        elif spaced:
            out += [_signs(text[start:end], between), " ", letter]
        else:
            out += [_gap(shadow[start:end], text[start:end], between) or " ", letter]
    return frozenset() if spaced else between, "".join(out)


def _gap(shadow: str, text: str, between: frozenset[str]) -> str:
    """A gap between words without what separates letters: its signs, and a space where one is."""
    spaced = "".join(" " if kind in _BLANK else c for kind, c in zip(shadow, text, strict=True))
    kept = "".join(c for c in spaced if c == " " or (c in _PUNCTUATION and c not in between))
    return _BLANKS.sub(" ", kept)


_BLANKS = re.compile("  +")
