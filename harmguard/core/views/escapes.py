"""Text behind escapes and codes: each decoder gives a text back, the same one if it does not fire.

`unescaped` undoes what is exact, so it always fires. What `from_codes` and `from_words` make must
read like words. Every place is decoded once.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections import Counter
from collections.abc import Callable

from harmguard.core.views.reading import reads

_ESCAPES = re.compile(
    r"(?P<percent>(?:%[0-9A-Fa-f]{2})+)"
    r"|(?P<quoted>(?:=[0-9A-F]{2}){2,})"
    r"|(?P<utf16>(?:(?:\\u|%u)[0-9A-Fa-f]{4})+)"
    r"|(?P<octal>(?:\\[0-3][0-7]{2})+)"
    r"|(?P<bytes>(?:\\x[0-9A-Fa-f]{2})+)"
    r"|(?:\\[ux]\{|\\U00|[Uu]\+|&#[xX])0{0,5}(?P<hex>[0-9A-Fa-f]{1,6})(?:\}|;|\b)"
    r"|&#0{0,5}(?P<decimal>[0-9]{1,7})(?:;|\b)"
    r"|&(?P<styled>[A-Za-z])(?:fr|opf|scr);"
    r"|&(?P<name>[A-Za-z]{2,8});",
    re.ASCII,
)
_NAMES = {
    "amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'", "nbsp": " ", "sol": "/",
    "num": "#", "comma": ",", "period": ".", "quest": "?", "excl": "!", "colon": ":",
    "semi": ";", "lowbar": "_", "hyphen": "-", "dash": "-", "Tab": " ", "NewLine": "\n",
    "shy": "", "zwnj": "", "zwj": "", "lrm": "", "rlm": "", "ensp": " ", "emsp": " ",
    "thinsp": " ", "lpar": "(", "rpar": ")", "commat": "@", "percnt": "%", "dollar": "$",
    "ast": "*", "plus": "+", "equals": "=", "bsol": "\\", "vert": "|", "inodot": "i",
}  # fmt: skip


def unescaped(text: str) -> str:
    """Percent, quoted-printable, backslash and HTML escapes as the characters they stand for."""
    if not any(sign in text for sign in _ESCAPE_SIGNS):
        return text
    return _ESCAPES.sub(_unescape, text)


_ESCAPE_SIGNS = ("%", "\\", "&", "U+", "u+", "=")


def _unescape(found: re.Match[str]) -> str:
    kind, whole = found.lastgroup, found.group()
    body = found.group(kind) if kind else ""
    if kind in ("hex", "decimal"):
        cp = int(body, 16 if kind == "hex" else 10)
        return whole if cp > 0x10FFFF or 0xD800 <= cp < 0xE000 else chr(cp)
    if kind == "name":
        return _NAMES.get(body, whole)
    if kind == "styled":
        return body
    if kind == "utf16":
        raw = bytes.fromhex(re.sub(r"\\u|%u", "", body))
        return _decoded(raw, "utf-16-be") or whole
    if kind == "octal":
        raw = bytes(int(part, 8) for part in body[1:].split("\\"))
    else:
        raw = bytes.fromhex(re.sub(r"%|=|\\x", "", body))
    return _decoded(raw, "utf-8") or raw.decode("latin-1")


def _decoded(raw: bytes, encoding: str) -> str:
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError:
        return ""


def _readable(raw: bytes) -> str:
    """The bytes as text, if they are text that reads like words; otherwise nothing."""
    if len(raw) > 3 and not any(raw[1::2]):
        raw = raw[::2]
    elif len(raw) > 3 and not any(raw[::2]):
        raw = raw[1::2]
    text = _decoded(raw, "utf-8")
    return text if text and (reads(text) or (len(text) >= SURE and _LETTERED(text))) else ""


SURE = 12
"""Bytes that are all letters, digits and gaps by chance too seldom to matter."""


def _LETTERED(text: str) -> bool:
    return sum(c.isascii() and (c.isalnum() or c == " ") for c in text) * 10 >= len(text) * 8


_HEX = re.compile(
    r"(?<![A-Za-z0-9])(?:(?:0x|\\x|#|\$)?[0-9A-Fa-f]{2}[ \t\r\n,:;_.-]{0,2}){4,}(?![A-Za-z0-9])",
    re.ASCII,
)
_HEX_NOISE = re.compile(r"0x|\\x|[^0-9A-Fa-f]")
_BINARY = re.compile(r"(?<![0-9A-Za-z])[01]{7,8}(?:[ \t\r\n,_-]{0,2}[01]{7,8}){3,}(?![0-9A-Za-z])")
_NUMBERS = re.compile(
    r"(?<![0-9A-Za-z.])[0-9]{1,3}(?:[ \t\r\n,;:/|_.-]{1,3}[0-9]{1,3}){3,}(?![0-9A-Za-z])"
)
_NUMBER = re.compile("[0-9]+")
_RUN = re.compile(r"[A-Za-z0-9+/_-]{2,}={0,2}(?:[ \t\r\n]+[A-Za-z0-9+/_-]{2,}={0,2})*", re.ASCII)
_ODD = re.compile("[a-z][A-Z0-9]|[A-Z]{2}[a-z]|[0-9][A-Za-z]|=$|^[A-Z2-7]{2,}$|^[A-Z][A-Z0-9]")
_SEPARATED = re.compile("([ \t\r\n]+)")


def from_codes(text: str) -> str:
    """Hexadecimal, binary, decimal and octal numbers, base64 and base32, as text."""
    if _DIGIT.search(text):
        for pattern, decode in _NUMBER_CODES:
            text = pattern.sub(decode, text)
    return _RUN.sub(_from_base, text) if _SOME_ODD.search(text) else text


_DIGIT = re.compile("[0-9]")
_SOME_ODD = re.compile("[a-z][A-Z0-9]|[A-Z]{2}[a-z]|[0-9][A-Za-z]|[A-Z][A-Z0-9]{7}")


def _from_hex(found: re.Match[str]) -> str:
    digits = _HEX_NOISE.sub("", found.group())
    return found.group() if len(digits) % 2 else _readable(bytes.fromhex(digits)) or found.group()


def _from_binary(found: re.Match[str]) -> str:
    bits = "".join(c for c in found.group() if c in "01")
    for width in (8, 7):
        if len(bits) % width == 0:
            units = (bits[i : i + width] for i in range(0, len(bits), width))
            read = _readable(bytes(int(unit, 2) for unit in units))
            if read:
                return read
    return found.group()


def _from_numbers(found: re.Match[str]) -> str:
    numbers = _NUMBER.findall(found.group())
    gaps = _NUMBER.split(found.group())[1:-1]
    tried: list[list[int]] = [[int(number) for number in numbers]]
    if all(number.isdigit() and not set(number) & set("89") for number in numbers):
        tried.append([int(number, 8) for number in numbers])
    for values in tried:
        if min(values) >= 1 and max(values) <= 26:
            inner = _most_frequent(gaps)
            spelt = "".join(
                chr(96 + value) + ("" if gap == inner else " ")
                for value, gap in zip(values, [*gaps, inner], strict=True)
            )
            if reads(spelt):
                return spelt
        elif all(value in (9, 10, 13) or 32 <= value < 127 for value in values):
            spelt = "".join(map(chr, values))
            if reads(spelt):
                return spelt
    return found.group()


def _most_frequent(gaps: list[str]) -> str:
    """Of several that are, the first: a set's order would differ from process to process."""
    return Counter(gaps).most_common(1)[0][0]


def _from_base(found: re.Match[str]) -> str:
    """Decode tokens of base64 or base32, alone or what several of them in a row make together."""
    parts = _SEPARATED.split(found.group())
    odd = [bool(_ODD.search(part)) for part in parts[::2]]
    if not any(odd):
        return found.group()
    out: list[str] = []
    index = 0
    while index < len(odd):
        end = index
        while end < len(odd) and odd[end]:
            end += 1
        read = _base_text(parts[2 * index : 2 * end - 1 : 2]) if end > index else ""
        if read:
            out += [f" {read} ", *parts[2 * end - 1 : 2 * end]]
        else:
            end = max(end, index + 1)
            out += parts[2 * index : 2 * end]
        index = end
    return "".join(out)


def _base_text(tokens: list[str]) -> str:
    """What the tokens decode to together; otherwise one by one."""
    whole = "".join(tokens)
    if len(whole) < 8:
        return ""
    for decode in (_base64, _base32):
        read = _readable(decode(whole))
        if read:
            return read
        single = [decode(token) for token in tokens] if len(tokens) > 1 else []
        if single and all(single):
            read = _readable(b" ".join(single))
            if read:
                return read
        # Other words may stand before or after what is encoded.
        longest = max(tokens, key=len)
        if len(tokens) > 1 and len(longest) >= 8:
            read = _readable(decode(longest))
            if read:
                return " ".join(read if token is longest else token for token in tokens)
    return ""


def _base64(token: str) -> bytes:
    body = token.rstrip("=").replace("-", "+").replace("_", "/")
    body = body[: len(body) - (len(body) % 4 == 1)]
    try:
        return base64.b64decode(body + "=" * (-len(body) % 4), validate=True)
    except binascii.Error:
        return b""


def _base32(token: str) -> bytes:
    body = token.rstrip("=").upper()
    try:
        return base64.b32decode(body + "=" * (-len(body) % 8))
    except binascii.Error:
        return b""


_NUMBER_CODES: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...] = (
    (_BINARY, _from_binary),
    (_HEX, _from_hex),
    (_NUMBERS, _from_numbers),
)


_MORSE_LETTERS = (
    ".- -... -.-. -.. . ..-. --. .... .. .--- -.- .-.. -- -. --- .--. --.- .-. ... - ..- ...- .-- "
    "-..- -.-- --.."
).split()
_MORSE_TABLE = {code: chr(97 + index) for index, code in enumerate(_MORSE_LETTERS)}
_MORSE = re.compile(
    "(?<![^ \n])[.\u00b7\u2022_\u2012-\u2015\u2212-]{1,6}"
    "(?:[ \n/|]{1,5}[.\u00b7\u2022_\u2012-\u2015\u2212-]{1,6}){3,}(?![^ \n])"
)
_DOTS = str.maketrans("\u00b7\u2022_\u2012\u2013\u2014\u2015\u2212", "..------")
_BRAILLE_LETTERS = dict(
    zip(
        (1, 3, 9, 25, 17, 11, 27, 19, 10, 26, 5, 7, 13, 29, 21, 15, 31, 23, 14, 30, 37, 39, 58,
         45, 61, 53),
        "abcdefghijklmnopqrstuvwxyz",
        strict=True,
    )
)  # fmt: skip
_BRAILLE = re.compile("[\u2801-\u28ff]+(?:[ \n]+[\u2801-\u28ff]+)*")
_SPELLING = (
    "al[fp]h?a bravo charlie delta echo foxtrot golf hotel india juliett? kilo lima mike november "
    "oscar papa quebec romeo sierra tango uniform victor whisk(?:e)?y x-?ray yankee zulu"
).split()
_SPELT = re.compile(
    rf"\b(?:{'|'.join(_SPELLING)})(?:[ \n,./|-]{{1,4}}(?:{'|'.join(_SPELLING)})){{3,}}\b",
    re.ASCII | re.IGNORECASE,
)
_SPELT_GAP = re.compile("[ \n,./|]+|(?<![xX])-")


def from_words(text: str) -> str:
    """Morse code, braille and the spelling alphabet, as letters."""
    if _MORSE_START.search(text):
        text = _MORSE.sub(_from_morse, text)
    if not text.isascii():
        text = _BRAILLE.sub(_from_braille, text)
    low = text.lower() if text.isascii() else text
    if sum(word in low for word in _SPELT_OFTEN) > 1:
        text = _SPELT.sub(_from_spelling, text)
    return text


_MORSE_START = re.compile("[^A-Za-z0-9]{7}")
_SPELT_OFTEN = (
    "echo",
    "tango",
    "alpha",
    "alfa",
    "oscar",
    "india",
    "november",
    "sierra",
    "hotel",
    "romeo",
)


def _from_morse(found: re.Match[str]) -> str:
    words = re.split("[ \n]*[/|][ \n]*|  +|\n", found.group().translate(_DOTS))
    spelt = " ".join(
        "".join(_MORSE_TABLE.get(code, "?") for code in word.split(" ") if code) for word in words
    )
    return spelt if reads(spelt) else found.group()


def _from_braille(found: re.Match[str]) -> str:
    spelt = "".join(
        c if c in " \n" else _BRAILLE_LETTERS.get(ord(c) - 0x2800, " " if c == "\u2820" else "?")
        for c in found.group()
    ).replace("? ", " ")
    return spelt if reads(spelt) else found.group()


def _from_spelling(found: re.Match[str]) -> str:
    gaps = _SPELT_GAP.findall(found.group())
    words = _SPELT_GAP.split(found.group())
    inner = _most_frequent(gaps)
    spelt = "".join(
        word[:1].lower() + ("" if gap == inner else " ")
        for word, gap in zip(words, [*gaps, inner], strict=True)
    )
    return spelt if reads(spelt) else found.group()
