#!/usr/bin/env python3
"""Make the character tables of android_demo/core by asking the tokenizers library.

    python scripts/make_android_tables.py           # write the file anew
    python scripts/make_android_tables.py --check   # exit with 1 if it would change

Whether a character is a space, a mark or punctuation, its lower case and its decomposition come
from four Unicode versions within that one library, so each code point is given to each step, and
what comes out is written down. Neither the device's tables nor Python's are asked.
"""

from __future__ import annotations

import functools
import struct
import sys
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version
from pathlib import Path

from tokenizers import normalizers, pre_tokenizers

OUT = (
    Path(__file__).parents[1]
    / "android_demo/core/src/main/resources/dev/harmguard/core/tokenizers.txt"
)
POINTS = [cp for cp in range(0x110000) if not 0xD800 <= cp < 0xE000]
FLAGS = (
    "cleaned", "blank", "chinese", "nonspacing", "mark", "space", "punctuation", "numeric", "word",
    "dropped", "spaced",
)  # fmt: skip
"""The bits of `flags`, the lowest first; android_demo's CharTables.kt has them by the same names.

cleaned, blank: BertNormalizer leaves it out, or makes it a space; chinese: and puts spaces around;
nonspacing: and leaves it out with the accents; mark: StripAccents does; space: Strip does;
punctuation, numeric, word: what Punctuation, Digits and Whitespace take it for; dropped, spaced:
Nmt leaves it out, or makes it a space.
"""
HANGUL = range(0xAC00, 0xD7A4)


def charsmap() -> bytes:
    """A sentencepiece table in which every byte is a key, whose replacement is "b"."""
    units = [0] * 1024
    units[0] = 256 << 10
    for byte in range(1, 256):
        units[256 ^ byte] = 512 << 10 | 1 << 8 | byte
    trie = struct.pack("<1024I", *units)
    return struct.pack("<I", len(trie)) + trie + b"b\0"


CLUSTERS = normalizers.Precompiled(charsmap()).normalize_str
NFD, NFKD = normalizers.NFD().normalize_str, normalizers.NFKD().normalize_str
NFC, NFKC = normalizers.NFC().normalize_str, normalizers.NFKC().normalize_str


def bert(**steps: bool) -> Callable[[str], str]:
    """One step of BertNormalizer."""
    names = ("clean_text", "handle_chinese_chars", "strip_accents", "lowercase")
    made = normalizers.BertNormalizer(**{name: steps.get(name, False) for name in names})
    return lambda text: str(made.normalize_str(text))


def pieces(step: pre_tokenizers.PreTokenizer) -> Callable[[str], list[str]]:
    """What a pre-tokenizer cuts a text into."""
    return lambda text: [piece for piece, _ in step.pre_tokenize_str(text)]


def flags() -> list[int]:
    """The bits of each code point."""
    clean, chinese = bert(clean_text=True), bert(handle_chinese_chars=True)
    accents, marks = bert(strip_accents=True), normalizers.StripAccents().normalize_str
    strip, nmt = normalizers.Strip().normalize_str, normalizers.Nmt().normalize_str
    bert_cut = pieces(pre_tokenizers.BertPreTokenizer())
    punctuation = pieces(pre_tokenizers.Punctuation())
    digits = pieces(pre_tokenizers.Digits(individual_digits=True))
    words = pieces(pre_tokenizers.Whitespace())
    split = pieces(pre_tokenizers.WhitespaceSplit())
    found = []
    for cp in POINTS:
        c = chr(cp)
        around = f"a{c}a"
        bits = (
            clean(c) == "",
            clean(c) == " ",
            chinese(c) == f" {c} ",
            NFD(c) == c and accents(c) == "",
            marks(c) == "",
            strip(c) == "",
            punctuation(around) == ["a", c, "a"],
            digits(around) == ["a", c, "a"],
            words(around) == [around],
            nmt(c) == "",
            nmt(c) == " ",
        )
        named = dict(zip(FLAGS, bits, strict=True))
        # What the port takes for granted.
        assert {clean(c), nmt(c)} <= {"", " ", c}, hex(cp)
        assert chinese(c) in (c, f" {c} "), hex(cp)
        space = ["a", "a"] if named["space"] else None
        assert bert_cut(around) == (space or punctuation(around)), hex(cp)
        assert split(around) == (space or [around]), hex(cp)
        other = [around] if named["word"] else ["a", c, "a"]
        assert words(around) == (space or other), hex(cp)
        found.append(sum(bit << place for place, bit in enumerate(bits)))
    return found


def mapped(step: Callable[[str], str]) -> dict[int, str]:
    """What a step makes of a code point, where that is something else."""
    found = {cp: step(chr(cp)) for cp in POINTS if cp not in HANGUL}
    return {cp: text for cp, text in found.items() if text != chr(cp)}


def orders() -> dict[int, int]:
    """The rank of each mark among those that change places; marks of one rank do not."""
    movable = [
        chr(cp)
        for cp in POINTS
        if NFD(chr(cp)) == chr(cp)
        and (NFD(f"a\u0345{chr(cp)}")[1] != "\u0345" or NFD(f"a{chr(cp)}\u0334")[1] == "\u0334")
    ]
    movable.append("\u0334")  # of the lowest rank: never before itself

    def compare(one: str, other: str) -> int:
        if NFD(f"a{one}{other}") != f"a{one}{other}":
            return 1
        return -1 if NFD(f"a{other}{one}") != f"a{other}{one}" else 0

    ranked: dict[int, int] = {}
    last, rank = "", 0
    for c in sorted(set(movable), key=functools.cmp_to_key(compare)):
        rank += not last or compare(last, c) != 0
        ranked[ord(c)], last = rank, c
    return ranked


def composed(decomposed: Mapping[int, str]) -> list[int]:
    """The code points that NFC makes of what NFD makes of them."""
    found = [cp for cp, text in decomposed.items() if NFC(text) == chr(cp)]
    # One rule composes both: what NFKC makes of a canonical decomposition is the same.
    assert all(NFKC(decomposed[cp]) == NFKC(chr(cp)) for cp in found)
    return found


def cluster(c: str) -> str:
    """Its part in a grapheme: how many there are shows in a text of which each becomes "b".

    Graphemes of six bytes and more, which the library takes apart, count by their characters.
    """
    size = len(c.encode())
    if CLUSTERS(f"a{c}") == "b":
        # Extends what is before it; within a conjunct, L links and E does not part.
        if size == 3 and CLUSTERS(f"\u0915{c}\u0924\u0301") == "bbbb":
            return "L"
        return "E" if CLUSTERS(f"\u0915{c}\u094d\u0924\u0301") == "bbbbb" else "S"
    if CLUSTERS(f"{c}a") == "b":
        return "P"  # stands before
    # Two marks of two bytes are one grapheme of their own after what takes none.
    if CLUSTERS(f"{c}\u0340\u0301").count("b") == 2:
        return "C"
    if size == 3 and CLUSTERS(f"\u0915\u094d{c}\u0301") == "bbbb":
        return "K"  # a consonant
    if CLUSTERS(f"\u00a9\u200d{c}\u0301") == "bbbb":
        return "X"  # a picture
    return "-"


def runs(values: Iterable[tuple[int, str]]) -> str:
    """The values of successive code points, each where it begins; surrogates are as before."""
    parts, last = [], None
    for cp, value in values:
        if value != last:
            parts.append(f"{cp:x}:{value}")
            last = value
    return " ".join(parts)


def table(found: Mapping[int, str]) -> str:
    """Code points with what becomes of them."""
    items = sorted(found.items())
    return " ".join(f"{cp:x}:{'+'.join(f'{ord(c):x}' for c in text)}" for cp, text in items)


def lines() -> list[str]:
    """The file."""
    nfd, nfkd, ranks = mapped(NFD), mapped(NFKD), orders()
    lower = mapped(bert(lowercase=True))
    assert lower == mapped(normalizers.Lowercase().normalize_str)
    return [
        f"# By scripts/make_android_tables.py from tokenizers {version('tokenizers')}.",
        "flags " + runs((cp, f"{bits:x}") for cp, bits in zip(POINTS, flags(), strict=True)),
        "cluster " + runs((cp, cluster(chr(cp))) for cp in POINTS),
        "order " + runs((cp, f"{ranks.get(cp, 0):x}") for cp in POINTS),
        "lower " + table(lower),
        "nfd " + table(nfd),
        "nfkd " + table({cp: text for cp, text in nfkd.items() if nfd.get(cp) != text}),
        "composed " + " ".join(f"{cp:x}" for cp in composed(nfd)),
    ]


def main() -> None:
    """Write the file, or compare it."""
    text = "".join(line + "\n" for line in lines())
    if "--check" in sys.argv[1:]:
        here = OUT.read_text(encoding="ascii")
        if here.split("\n", 1)[1] != text.split("\n", 1)[1]:
            sys.exit(f"{OUT}: tokenizers {version('tokenizers')} gives another table")
    else:
        OUT.parent.mkdir(parents=True, exist_ok=True)
        OUT.write_text(text, encoding="ascii")


if __name__ == "__main__":
    main()
