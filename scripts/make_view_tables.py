"""Make the tables of the cleaned views: `make_view_tables.py unicode TABLES_RS` or `trigrams DATA`.

The first needs unicodedata2 and fonttools of the Unicode version wanted, and the source file
`tables.rs` of the Rust crate unicode-security of the same version, which carries the confusables
of UTS 39. The second needs the folder of labelled data. Neither is needed to use the tables.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parent.parent / "harmguard" / "core" / "views"
TRIGRAM_SOURCES = ("benign_prompts.jsonl.gz", "train.jsonl.gz")
LAST = 0x110000

_NAMED = re.compile(
    r"^(?:(?:NEGATIVE |)(?:CIRCLED |SQUARED |PARENTHESIZED |CROSSED NEGATIVE SQUARED )|"
    r"COMBINING |MODIFIER |TAG |)"
    r"(?:LATIN |)(?:SUBSCRIPT |)(?:CAPITAL |SMALL |)LETTER (?:[A-Z]+ )*?([A-Z]|AE|OE|AO|AU|AV|AY|OO)"
    r"(?: WITH .*| DIGRAPH|)$"
)
# Named as letters with which they have nothing to do, or by a letter that they do not look like.
_NOT_BY_NAME = frozenset(map(ord, "ƻƼƽʔʕʖǀǁǂǃ"))

# Look-alikes that the confusables lack: for a prototype, so that all of its class follow.
_MORE_ALIKE = {
    "π": "n", "µ": "u", "μ": "u", "ω": "w", "β": "b", "ß": "b", "χ": "x", "λ": "l", "δ": "d",
    "ẟ": "d", "ε": "e", "ꞓ": "e", "ς": "c", "θ": "o", "φ": "o", "ɸ": "o", "ψ": "w", "ξ": "e",
    "κ": "k", "ζ": "z", "γ": "y", "τ": "t", "Σ": "E", "Λ": "A", "Δ": "A", "Π": "N", "Θ": "O", "Ξ": "E",
    "Φ": "O", "Ω": "O", "Γ": "R", "Ψ": "W",
    "б": "b", "Б": "B", "г": "r", "Г": "R", "д": "a", "Д": "A", "ж": "x", "Ж": "X", "з": "e",
    "З": "E", "и": "n", "И": "N", "й": "n", "Й": "N", "л": "n", "Л": "N", "П": "N", "п": "n",
    "ц": "u", "Ц": "U", "ч": "y", "Ч": "Y", "ш": "w", "Ш": "W", "щ": "w", "Щ": "W", "ъ": "b",
    "Ъ": "B", "ы": "bl", "Ы": "BL", "ь": "b", "Ь": "B", "э": "e", "Э": "E", "ю": "io", "Ю": "IO",
    "я": "r", "Я": "R", "ф": "o", "Ф": "O", "м": "m", "М": "M", "т": "t", "Т": "T", "к": "k",
    "ү": "y", "Ү": "Y", "ғ": "f", "қ": "k", "ң": "h", "җ": "x", "ҳ": "x", "є": "e", "Є": "E",
    "ґ": "r", "Ґ": "R", "ђ": "h", "ћ": "h", "ё": "e", "Ё": "E", "ї": "i", "Ї": "I", "ў": "y",
    "բ": "f", "վ": "u", "տ": "s", "ւ": "i", "ժ": "d", "ֆ": "f", "յ": "j", "պ": "u", "ե": "t", "է": "t",
    "թ": "p", "լ": "l", "մ": "u", "ն": "u", "ր": "n", "ձ": "d", "կ": "u", "գ": "q", "ի": "h",
    "ხ": "b", "ჰ": "h", "ძ": "d", "კ": "k", "თ": "m", "ო": "m", "ი": "o", "ღ": "m", "უ": "y",
    "ს": "b", "ა": "o", "რ": "m", "ნ": "b", "გ": "g", "ე": "j", "ბ": "b", "დ": "o", "ც": "g",
    "ⲁ": "a", "ⲃ": "b", "ⲅ": "r", "ⲇ": "d", "ⲉ": "e", "ⲍ": "z", "ⲏ": "h", "ⲓ": "i", "ⲕ": "k",
    "ⲗ": "l", "ⲙ": "m", "ⲛ": "n", "ⲟ": "o", "ⲡ": "n", "ⲣ": "p", "ⲥ": "c", "ⲧ": "t", "ⲩ": "y",
    "ⲫ": "o", "ⲭ": "x", "ⲱ": "w", "ꓲ": "I", "Ꮖ": "I", "ӏ": "l", "א": "n", "ם": "o", "ט": "u",
    "ש": "w", "ץ": "y", "ע": "y", "ח": "n", "ה": "n", "פ": "g",
    "₳": "A", "฿": "B", "₿": "B", "₵": "C", "¢": "c", "₡": "C", "€": "E", "₣": "F", "₲": "G",
    "₭": "K", "£": "L", "₤": "L", "ℳ": "M", "₦": "N", "₱": "P", "₽": "P", "₹": "R", "₴": "S",
    "₮": "T", "₸": "T", "₩": "W", "¥": "Y", "∂": "d", "∑": "E", "∏": "N", "∀": "A", "∃": "E",
    "℮": "e", "ℓ": "l", "√": "v", "∞": "oo", "∩": "n", "ø": "o", "¡": "i", "×": "x", "†": "t",
}  # fmt: skip
# Whole alphabets that are in use for Latin letters; a space where a letter has none.
_DRAWN = (
    ("abcdefghijklmnopqrstuvwxyz", "ᗩᗷᑕᗪᗴᖴᘜᕼIᒍKᒪᗰᑎOᑭᑫᖇᔕTᑌᐯᗯ᙭Yᘔ"),
    ("abcdefghijklmnopqrstuvwxyz", "卂乃匚ᗪ乇千Ꮆ卄丨フҜㄥ爪几ㄖ卩Ɋ尺丂ㄒㄩᐯ山乂ㄚ乙"),
    ("abcdefghijklmnopqrstuvwxyz", "ꍏꌃꉓꀸꍟꎇꁅꃅꀤꀭꀘ꒒ꂵꈤꂦꉣꆰꋪꌗ꓄ꀎꃴꅏꊼꌩꁴ"),
    ("fuarkgwhnijpzstbemldo", "ᚠᚢᚨᚱᚲᚷᚹᚺᚾᛁᛃᛈᛉᛊᛏᛒᛖᛗᛚᛞᛟ"),
    ("abcdefghijklmnopqrstuvwxyz", "ΛBCDΣFGΉIJKᄂMПӨPQЯƧƬЦVЩXYZ"),
)
_LOOKS = {
    "Ɐ": "A",
    "Ǝ": "E",
    "Ⅎ": "F",
    "⅁": "G",
    "ſ": "s",
    "⅂": "L",
    "⅃": "J",
    "⅄": "Y",
    "ǫ": "q",
    "ĸ": "k",
    "ɔ": "c",
    "Ɔ": "C",
    "ɟ": "f",
    "ƃ": "g",
    "ʋ": "u",
    "ŋ": "n",
    "Ŋ": "N",
}

# One letter a kind of character: see `views.tables`.
_KINDS = {"Lu": "L", "Ll": "L", "Lt": "L", "Lm": "L", "Lo": "L", "Mn": "M", "Me": "M", "Mc": "M",
          "Nd": "N", "Zs": "Z", "Zl": "Z", "Zp": "Z", "So": "S", "Sk": "S", "Cc": "C", "Cs": "C",
          "Co": "C", "Cn": "C"}  # fmt: skip

# Default_Ignorable_Code_Point, reserved ones included: the property is fixed for these blocks.
_IGNORABLE = [
    (0xAD, 0xAD), (0x34F, 0x34F), (0x61C, 0x61C), (0x115F, 0x1160), (0x17B4, 0x17B5),
    (0x180B, 0x180F), (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0x3164, 0x3164),
    (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF), (0xFFA0, 0xFFA0), (0xFFF0, 0xFFF8), (0x1BCA0, 0x1BCA3),
    (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF),
    # Not in the property, and as empty: annotation anchors, the object replacement character.
    (0xFFF9, 0xFFFC),
]  # fmt: skip


def make_unicode(tables_rs: Path) -> None:
    """Write `unicode.json`."""
    import unicodedata2
    from fontTools.unicodedata import script

    ucd: Any = unicodedata2

    source = tables_rs.read_text(encoding="utf-8")
    found = re.search(r"UNICODE_VERSION: \(u64, u64, u64\) = \((\d+), (\d+), (\d+)\)", source)
    version = ".".join(found.groups()) if found else "unknown"
    if version != ucd.unidata_version:
        raise SystemExit(f"confusables are {version}, unicodedata2 is {ucd.unidata_version}")

    kinds = [_KINDS.get(ucd.category(chr(cp)), "P") for cp in range(LAST)]
    for first, last in _IGNORABLE:
        kinds[first : last + 1] = "I" * (last + 1 - first)
    kinds[0x2800] = "Z"  # BRAILLE PATTERN BLANK looks like a space
    for cp in (9, 10, 11, 12, 13, 0x85):
        kinds[cp] = "Z"
    names = [script(chr(cp)) if kind in "LM" else "" for cp, kind in enumerate(kinds)]
    scripts = ["" if name in ("Zyyy", "Zinh", "Zzzz") else name for name in names]

    fold = {cp: to for cp in range(0x80, LAST) if (to := _folded(ucd, scripts, cp)) is not None}
    closed = {cp: _closed(to, fold) for cp, to in fold.items()}
    closed = {cp: to for cp, to in closed.items() if to != chr(cp)}
    prototypes = _prototypes(source)
    alike = _alike(ucd, prototypes, closed, scripts)
    # A look-alike of the Latin script needs no mixed word to be one.
    for cp in [cp for cp in alike if scripts[cp] == "Latn"]:
        closed.setdefault(cp, alike.pop(cp))
    closed = {cp: _closed(to, closed) for cp, to in closed.items()}
    table = {
        "unicode": version,
        "kinds": _runs(kinds),
        "scripts": _runs(scripts),
        "fold": _grouped(closed),
        "alike": _grouped({cp: to for cp, to in alike.items() if cp not in closed}),
    }
    out = FOLDER / "unicode.json"
    out.write_text(json.dumps(table, indent=0, ensure_ascii=True) + "\n", encoding="ascii")
    print(f"{out.name}: {out.stat().st_size:,} bytes, {len(closed):,} folds, {len(alike):,} alike")


def _folded(ucd: Any, scripts: list[str], cp: int) -> str | None:
    """What a character is folded to, whatever stands beside it; None if it stays."""
    letter, category = chr(cp), ucd.category(chr(cp))
    if letter in _LOOKS:
        return _LOOKS[letter]
    if letter in "™℠" or category in ("Cn", "Co", "Cs", "Cc") or 0xAC00 <= cp <= 0xD7A3:
        return None
    name = ucd.name(letter, "")
    named = _NAMED.match(name) if cp not in _NOT_BY_NAME else None
    plain = _plain(ucd, letter)
    if plain.isascii() and re.search("[A-Za-z0-9]", plain):
        bare: str = re.sub(r"^\((.*)\)$|^([0-9A-Z]+)[.,]$", r"\1\2", plain)
        return bare.replace("/", "") if len(bare) > 3 else bare
    if named and not name.startswith("TAG "):
        found = str(named.group(1))
        small = "SMALL LETTER" in name or "LATIN LETTER SMALL CAPITAL" in name
        return found.lower() if small or name.startswith("MODIFIER LETTER SMALL") else found
    if re.match(
        r"(NEGATIVE |)SQUARED (AB|CL|COOL|FREE|ID|NEW|NG|OK|SOS|VS|UP WITH .*|IC|PA|SA|WC)$", name
    ):
        return f" {name.split('SQUARED ')[1].split(' WITH')[0]} "
    compatible: str = ucd.normalize("NFKC", letter)
    # Punctuation and spaces stay: full-width ones are everyday Chinese.
    if compatible == letter or category[0] in "PZ" or category in ("Sc", "Sm", "Sk"):
        return None
    # Only letters that do not fall apart into a letter and marks: a mark alone is no fold.
    if category[0] in "LN" or category == "So":
        # Sara am of Thai is everyday spelling, although it falls apart.
        apart = len(compatible) > 1 and any(ucd.category(c)[0] == "M" for c in compatible)
        return None if apart or " " in compatible else compatible
    return None


def _plain(ucd: Any, text: str) -> str:
    """Compatibility decomposition without the marks."""
    apart = ucd.normalize("NFKD", text)
    return "".join(c for c in apart if ucd.category(c)[0] != "M")


def _closed(text: str, fold: dict[int, str]) -> str:
    """A fold's result folded itself until it stays."""
    for _ in range(5):
        after = "".join(fold.get(ord(c), c) for c in text)
        if after == text:
            break
        text = after
    return text


def _prototypes(source: str) -> dict[int, str]:
    """The confusables of the crate's table: code point -> prototype."""
    start = source.index("CONFUSABLES: &'static")
    body = source[start : source.index("];", start)]
    escape = re.compile(r"\\u\{([0-9a-f]+)\}")
    table: dict[int, str] = {}
    for entry in body.split("('")[1:]:
        first, *prototype = (int(cp, 16) for cp in escape.findall(entry))
        table[first] = "".join(map(chr, prototype))
    return table


def _alike(
    ucd: Any, prototypes: dict[int, str], fold: dict[int, str], scripts: list[str]
) -> dict[int, str]:
    """Characters that look like ASCII letters."""

    def ascii_of(text: str) -> str | None:
        out = ""
        for c in text:
            if ucd.category(c)[0] == "M":
                continue
            to = c if c.isascii() else fold.get(ord(c), _MORE_ALIKE.get(c, ""))
            if not (to.isascii() and to.isalpha()):
                return None
            out += to
        return out or None

    alike: dict[int, str] = {}
    for cp, prototype in prototypes.items():
        to = ascii_of(prototype)
        if cp >= 0x80 and ucd.category(chr(cp))[0] in "LNS" and to is not None:
            alike[cp] = to
    _tell_i_from_l(ucd, alike)
    drawn = [pair for letters, shapes in _DRAWN for pair in zip(shapes, letters, strict=True)]
    alike.update({ord(c): to for c, to in [*drawn, *_MORE_ALIKE.items()] if not c.isascii()})
    # What is itself folded to such a letter follows: mathematical alpha is an alpha first.
    return {cp: to for cp, to in sorted(alike.items()) if len(to) <= 2}


def _tell_i_from_l(ucd: Any, alike: dict[int, str]) -> None:
    """A capital whose small letter looks like an i looks like an I, not like the l of UTS 39."""
    for cp in [cp for cp, to in alike.items() if to == "l"]:
        lower = chr(cp).lower()
        if len(lower) == 1 and ord(lower) != cp and alike.get(ord(lower)) == "i":
            alike[cp] = "I"
        elif ucd.category(chr(cp)) == "Sm":
            del alike[cp]  # bars of mathematics


def _runs(values: list[str]) -> str:
    """`hex:value` for each code point at which the value changes; an empty value is written -."""
    parts, last = [], None
    for cp, value in enumerate(values):
        if value != last:
            parts.append(f"{cp:x}:{value or '-'}")
            last = value
    return " ".join(parts)


def _grouped(table: dict[int, str]) -> dict[str, str]:
    """result -> `hex` and `hex-hex` of what has it."""
    groups: dict[str, list[int]] = {}
    for cp, to in sorted(table.items()):
        groups.setdefault(to, []).append(cp)
    return {to: " ".join(_ranges(cps)) for to, cps in sorted(groups.items())}


def _ranges(cps: list[int]) -> Iterator[str]:
    start = 0
    for i in range(1, len(cps) + 1):
        if i == len(cps) or cps[i] != cps[i - 1] + 1:
            first, last = cps[start], cps[i - 1]
            yield f"{first:x}" if first == last else f"{first:x}-{last:x}"
            start = i


def make_trigrams(data: Path) -> None:
    """Write `trigrams.txt`: -log2 P(third | first two) in steps of .75, a hex digit each."""
    counts: Counter[str] = Counter()
    rows = 0
    for name in TRIGRAM_SOURCES:
        with gzip.open(data / name, "rt", encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                if row["licence"] != "permissive" or row["label"] != 0 or row["lang"] != "en":
                    continue
                rows += 1
                words = re.findall("[a-z]+", f"{row['prompt']} {row['response']}".lower())
                for word in words:
                    counts.update((f"  {word[0]}",))
                    word = f" {word} "
                    counts.update(word[i : i + 3] for i in range(len(word) - 2))
    letters = " abcdefghijklmnopqrstuvwxyz"
    three = np.array([[[counts[a + b + c] for c in letters] for b in letters] for a in letters])
    two, one = three.sum(0, keepdims=True), three.sum((0, 1), keepdims=True)
    p1 = (one + 1) / (one.sum() + 27)
    p2 = (two + 20 * p1) / (two.sum(2, keepdims=True) + 20)
    p3 = (three + 20 * p2) / (three.sum(2, keepdims=True) + 20)
    steps = np.clip(np.rint(-np.log2(p3) / 0.75), 0, 15).astype(int)
    steps[:, 0, 0] = 0
    rows_of = ["".join(f"{step:x}" for step in block.ravel()) for block in steps]
    (FOLDER / "trigrams.txt").write_text("\n".join(rows_of) + "\n", encoding="ascii")
    print(f"trigrams.txt: {counts.total():,} trigrams of {rows:,} rows")


def main() -> None:
    """Make one of the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", choices=["unicode", "trigrams"])
    parser.add_argument("source", type=Path, help="tables.rs, or the folder of labelled data")
    args = parser.parse_args()
    make: dict[str, Callable[[Path], None]] = {"unicode": make_unicode, "trigrams": make_trigrams}
    make[args.table](args.source)


if __name__ == "__main__":
    main()
