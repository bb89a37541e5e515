"""What a reader cannot see: payloads of tags and selectors, reversed runs, characters of no width.

Every function returns the text as a reader would have it, in time linear in its length.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from harmguard.core.views.tables import class_string

_PLAIN = frozenset(" abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")

FEWEST_BITS = 16
"""Characters of no width in a row that are tried as the bits of a text."""
DEEPEST = 8
"""Overrides within overrides that are followed; deeper ones are dropped as the others are."""

# The three flags of regions that Unicode recommends: England, Scotland, Wales.
_FLAG = re.compile(
    "\U0001f3f4\U000e0067\U000e0062(?:\U000e0065\U000e006e\U000e0067|\U000e0073\U000e0063\U000e0074"
    "|\U000e0077\U000e006c\U000e0073)\U000e007f"
)
_TAGS = re.compile("[\U000e0020-\U000e007e]+")
_SELECTORS = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]{4,}")
_LONE_SELECTORS = re.compile("[\ufe00-\ufe0d\U000e0100-\U000e01ef]")
_BITS = re.compile(f"[\u200b-\u200f\u2060-\u2064\ufeff\u180e\u00ad]{{{FEWEST_BITS},}}")
_LINE = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2029"
_BIDI = re.compile(f"([\u202a-\u202e\u2066-\u2069{_LINE}])")
_OVERRIDE = re.compile("[\u202d\u202e]")
_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")


def reveal(text: str) -> str:
    """Payloads made text, overridden runs in reading order, and nothing without a width left."""
    if not text.isascii():
        text = _TAGS.sub(_tag_text, _FLAG.sub("\U0001f3f4", text))
        text = _selected(text)
        text = _BITS.sub(lambda found: _padded(_from_bits(found.group())), text)
        if _OVERRIDE.search(text):
            text = _reordered(text)
    return visible(text)


def _tag_text(found: re.Match[str]) -> str:
    return _padded("".join(chr(ord(c) - 0xE0000) for c in found.group()))


def _padded(text: str) -> str:
    """A payload with gaps around it, unless it is so short that it completes a word."""
    return f" {text} " if len(text) > 2 else text


def _selected(text: str) -> str:
    """Decode runs of variation selectors, or, where there is no run, those of the whole text."""
    text, runs = _SELECTORS.subn(_selector_text, text)
    lone = _LONE_SELECTORS.findall(text)
    if runs or len(lone) < 4:
        return text
    payload = _from_selectors([ord(c) for c in lone])
    return f"{text} {payload}" if payload else text


def _selector_text(found: re.Match[str]) -> str:
    run = found.group()
    payload = _from_selectors([ord(c) for c in run])
    # An undecoded run is left for the rule on characters of no width.
    return _padded(payload) if payload else run


def _from_selectors(cps: Sequence[int]) -> str:
    values = [cp - 0xFE00 if cp < 0xFE10 else cp - 0xE0100 + 16 for cp in cps]
    shifted = [value - 16 for value in values]
    pairs = [high * 16 + low for high, low in zip(values[::2], values[1::2], strict=False)]
    for tried in (values, shifted, pairs if max(values) < 16 and len(values) % 2 == 0 else []):
        if tried and min(tried) >= 0 and max(tried) < 256:
            payload = _text_of(bytes(tried))
            if payload:
                return payload
    return ""


def _from_bits(run: str) -> str:
    """The text that two kinds of characters spell as bits, eight or seven a letter."""
    kinds = sorted(set(run))
    if len(kinds) != 2:
        return ""
    for zero in kinds:
        bits = "".join("0" if c == zero else "1" for c in run)
        for width in (8, 7):
            if len(bits) % width == 0:
                units = (bits[i : i + width] for i in range(0, len(bits), width))
                payload = _text_of(bytes(int(unit, 2) for unit in units))
                if payload:
                    return payload
    return ""


def _text_of(raw: bytes) -> str:
    """UTF-8 that is mostly ASCII letters and spaces, or nothing."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return ""
    plain = sum(c in _PLAIN for c in text)
    return text if plain * 3 >= len(text) * 2 and not _CONTROLS.search(text) else ""


def _reordered(text: str) -> str:
    """Runs that a right-to-left override shows reversed, reversed; Hebrew and Arabic stay."""
    # A piece is (text, whether it stands as it is when what it is in is reversed).
    open_runs: list[tuple[str, list[tuple[str, bool]]]] = [("", [])]
    deeper = 0
    for part in _BIDI.split(text):
        if not part:
            continue
        if part in "\u202a\u202b\u202d\u202e\u2066\u2067\u2068":
            if len(open_runs) > DEEPEST:
                deeper += 1
            else:
                open_runs.append((part, []))
        elif part in "\u202c\u2069":
            if deeper:
                deeper -= 1
            elif len(open_runs) > 1:
                _close(open_runs)
        elif part in _LINE:
            deeper = 0
            _close_all(open_runs)
            open_runs[0][1].append((part, True))
        else:
            open_runs[-1][1].append((part, False))
    _close_all(open_runs)
    return "".join(piece for piece, _ in open_runs[0][1])


def _close_all(open_runs: list[tuple[str, list[tuple[str, bool]]]]) -> None:
    while len(open_runs) > 1:
        _close(open_runs)


def _close(open_runs: list[tuple[str, list[tuple[str, bool]]]]) -> None:
    mark, pieces = open_runs.pop()
    whole = "".join(piece for piece, _ in pieces)
    if mark == "\u202e" and not _RIGHT_TO_LEFT.search(whole):
        whole = "".join(piece if stays else piece[::-1] for piece, stays in reversed(pieces))
    open_runs[-1][1].append((whole, True))


_CONTROLS = re.compile("[\x00-\x08\x0e-\x1f\x7f]")


def visible(text: str) -> str:
    """Drop what has no width, but where it is part of the spelling; spaces of any kind are one."""
    if text.isascii():
        return _CONTROLS.sub("", text)
    kinds = class_string(text)
    if not _UNSEEN.search(kinds):
        return text
    blanks = _BLANKS.findall(text)
    letters = len(kinds) - kinds.count("z") - kinds.count("i") - kinds.count("x")
    # A blank letter stands for a space, unless it stands between most letters.
    blank = "" if len(blanks) * 5 > letters * 2 else " "
    parts: list[str] = []
    end = 0
    for found in _UNSEEN.finditer(kinds):
        start = found.start()
        parts.append(text[end:start])
        end = found.end()
        parts.append(_kept(text, kinds, start, end, blank))
    parts.append(text[end:])
    return "".join(parts)


_UNSEEN = re.compile("i+|x+|z+")
_BLANKS = re.compile("[\u115f\u1160\u3164\uffa0\u2800]")
_SPELLING = re.compile("[jb]")
_EMOJI_JOINED = "\ufe0f\u200d"


def _kept(text: str, kinds: str, start: int, end: int, blank: str) -> str:
    """What stays of a run of characters that are not seen."""
    run, kind = text[start:end], kinds[start]
    if kind == "z":
        return run if run.strip(" ") == "" else _spaces(run, blank)
    if kind == "x":
        # Private and unassigned characters stay: they may be letters of a newer Unicode.
        return "".join(c for c in run if not (c < " " or "\x7f" <= c <= "\x9f"))
    before, after = kinds[start - 1 : start], kinds[end : end + 1]
    keep: dict[str, Callable[[], bool]] = {
        "\u200d": lambda: (before == "s" and after == "s") or (_shaped(before) and _shaped(after)),
        _EMOJI_JOINED: lambda: before == "s" and after == "s",
        "\u200c": lambda: _shaped(before) and _shaped(after),
        "\u200b": lambda: before in ("t", "b") and after in ("t", "b"),
        "\ufe0f": lambda: before in ("s", "p") or text[end : end + 1] == "\u20e3",
        "\ufe0e": lambda: before in ("s", "p"),
    }
    if run in keep:
        return run if keep[run]() else ""
    if "\u180b" <= run <= "\u180f" and len(run) == 1 and before == "j":
        return run
    return blank if _BLANKS.search(run) else ""


def _shaped(kind: str) -> bool:
    """Whether a joiner beside such a character is part of the spelling."""
    return kind in ("j", "b", "m")


def _spaces(run: str, blank: str) -> str:
    """Line breaks of one kind; other spaces stay what they are, for they may separate letters."""
    return "".join(blank if c == "\u2800" else "\n" if c in _BREAKS else c for c in run)


_BREAKS = "\r\x0b\x0c\x85\u2028\u2029"
