#!/usr/bin/env python3
"""Write random texts with their token ids, for the tokenizers of android_demo/core to replay.

    python scripts/make_android_strings.py COUNT OUT [--seed SEED]

OUT becomes a folder with tokenizers of several kinds, NAME.json each, and `strings.jsonl`: its
first line has the template of each, the others a text and its ids by each, as guards take them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tokenizers import Tokenizer  # noqa: E402

from harmguard.core.encode import PairEncoder, Template  # noqa: E402
from scripts import make_view_strings  # noqa: E402

WORDPIECE = ROOT / "harmguard/models/mini/tokenizer.json"
UNIGRAM = ROOT / "tests/golden/unigram/tokenizer.json"
FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")


def sequence(kind: str, *steps: dict[str, Any]) -> dict[str, Any]:
    """Several steps as one."""
    return {"type": "Sequence", kind: list(steps)}


def step(kind: str, **fields: Any) -> dict[str, Any]:
    """One step."""
    return {"type": kind, **fields}


def bert(clean: bool, chinese: bool, accents: bool | None, lower: bool) -> dict[str, Any]:
    """BertNormalizer."""
    return step(
        "BertNormalizer",
        clean_text=clean, handle_chinese_chars=chinese, strip_accents=accents, lowercase=lower,
    )  # fmt: skip


def added(id_: int, content: str, *flags: str) -> dict[str, Any]:
    """An added token."""
    return {"id": id_, "content": content, **{flag: flag in flags for flag in FLAGS}}


def metaspace(scheme: str, split: bool = True) -> dict[str, Any]:
    """Metaspace."""
    return step("Metaspace", replacement="\u2581", prepend_scheme=scheme, split=split)


def tokenizers() -> dict[str, dict[str, Any]]:
    """The files of the tokenizers: the shipped one, the vectors' one, and others made of these."""
    word = json.loads(WORDPIECE.read_text(encoding="utf-8"))
    one = json.loads(UNIGRAM.read_text(encoding="utf-8"))
    spaces = step("Replace", pattern={"Regex": " {2,}"}, content=" ")
    table = one["normalizer"]["normalizers"][1]
    size = len(word["model"]["vocab"])
    fallback = [[f"<0x{byte:02X}>", 0.0] for byte in range(256)]
    more = [
        added(size, "flour", "single_word"),
        added(size + 1, "<b>", "lstrip", "rstrip"),
        added(size + 2, "Br\u00f6t", "normalized"),
        added(size + 3, "\u00e9", "normalized", "rstrip"),
    ]
    return {
        "mini": word,
        "unigram": one,
        "cased": {**word, "normalizer": bert(True, True, False, False)},
        "accents": {
            **word,
            "normalizer": bert(False, False, True, False),
            "pre_tokenizer": sequence(
                "pretokenizers", step("WhitespaceSplit"), step("Punctuation", behavior="Contiguous")
            ),
        },
        "composed": {
            **word,
            "normalizer": sequence("normalizers", step("NFC"), step("Lowercase")),
            "pre_tokenizer": sequence(
                "pretokenizers", step("Whitespace"), step("Digits", individual_digits=True)
            ),
        },
        "compatible": {
            **word,
            "normalizer": sequence(
                "normalizers", step("NFKC"), bert(True, True, None, True), step("StripAccents")
            ),
            "pre_tokenizer": sequence(
                "pretokenizers",
                step("CharDelimiterSplit", delimiter=" "),
                step("Punctuation", behavior="Isolated"),
                step("Digits", individual_digits=False),
            ),
            "model": {**word["model"], "max_input_chars_per_word": 20},
        },
        "added": {**word, "added_tokens": word["added_tokens"] + more},
        "replaced": {
            **one,
            "normalizer": sequence("normalizers", table, spaces),
            "pre_tokenizer": sequence(
                "pretokenizers", step("WhitespaceSplit"), metaspace("always")
            ),
        },
        "fallback": {
            **one,
            "normalizer": sequence(
                "normalizers",
                step("Strip", strip_left=True, strip_right=False),
                step("Nmt"),
                step("NFKC"),
                spaces,
            ),
            "pre_tokenizer": metaspace("first", split=False),
            "model": {
                **one["model"],
                "vocab": one["model"]["vocab"] + fallback,
                "byte_fallback": True,
            },
            "added_tokens": one["added_tokens"]
            + [added(len(one["model"]["vocab"]) + 256, "flour", "lstrip")],
        },
        "decomposed": {
            **one,
            "normalizer": sequence(
                "normalizers",
                step("NFKD"),
                step("StripAccents"),
                step("Prepend", prepend="\u2581"),
                step("Replace", pattern={"String": " "}, content="\u2581"),
            ),
            "pre_tokenizer": None,
        },
    }  # fmt: skip


MARKS = [
    chr(cp)
    for part in (
        range(0x300, 0x370), range(0x483, 0x488), range(0x591, 0x5BE), range(0x64B, 0x660),
        range(0x7EB, 0x7F4), range(0x93C, 0x950), range(0xE31, 0xE4F), range(0x1AB0, 0x1AC0),
        range(0x1DC0, 0x1E00), range(0x20D0, 0x20F1), range(0x302A, 0x3030),
        range(0x1D165, 0x1D16A),
    )
    for cp in part
]  # fmt: skip
JAMO = [*map(chr, range(0x1100, 0x1200)), *map(chr, range(0xA960, 0xA97D)), "\uac00", "\uac01"]
SHORT = [*map(chr, range(0x80, 0x250)), *map(chr, range(0x370, 0x700)), *"\r\n\u200d\xad"]
WORDS = (
    "flour", "flours", "<b>", " <b> ", "Brot", "Br\u00f6t", "\u00e9", "e\u0301", "[SEP]", "[UNK]",
    "[CLS]", "##ing", "bread", "BREAD", "12", "\u00bd", "\u2581", "\u2581\u2581", " ", "  ", "\t",
    "\u3000", "\x00", "\ufffd", "\x85", "a" * 40, "na\u00efve", "\ufb01", "\u0130", "\u03a3",
    "\u1e9e", "\u3392", "\uff21", "\u0344", "\u0958", "\u0f73", "\U0001d15e", "\u4e00",
    "\U00020000", "\u212b",
)  # fmt: skip

# Each was once read in another way: marks that change places within an unknown word.
TRIPPED = (
    "\u3042\u00c5\u0344\u302f\u20e5",
    "\u00c5\u031e\u05a0\U0001d165\u0593",
    "O\u0332\u0367a\u302eO\u05b5\u1ded\u05af\u00c5\u302e",
    "##\u200b\u0301\u200bhow do I\u200b_",
)


def marked(random: Random) -> str:
    """Letters under marks that change places, are composed, or left out."""
    letters = ["a", "e", "O", "\u0915", "\u0924", "\u05d0", "\u0627", "\u1112", "\u00c5", "\u3042"]
    return "".join(
        random.choice(letters) + "".join(random.choices(MARKS, k=random.randrange(5)))
        for _ in range(random.randrange(1, 12))
    )


def short(random: Random) -> str:
    """Graphemes of a few bytes."""
    marks = MARKS[:112]
    pool = random.choice((SHORT, SHORT + marks, JAMO + marks, [*"ab 1\r\n", *marks]))
    return "".join(random.choices(pool, k=random.randrange(1, 40)))


def words(random: Random) -> str:
    """What tokenizers trip over, in a row."""
    return random.choice(("", "", " ")).join(random.choices(WORDS, k=random.randrange(1, 16)))


def points(random: Random) -> str:
    """Code points from anywhere, or from the first planes."""
    high = random.choice((0x250, 0x3000, 0x11000, 0x110000))
    found = (random.randrange(high) for _ in range(random.randrange(1, 40)))
    return "".join(chr(cp) for cp in found if not 0xD800 <= cp < 0xE000)


MAKERS: tuple[Callable[[Random], str], ...] = (marked, short, words, points)


def texts(count: int, seed: int) -> Iterator[str]:
    """`count` texts: half of them those of the views, which are sentences and disguises."""
    random = Random(seed)
    others = make_view_strings.texts(count, seed)
    yield from TRIPPED[:count]
    for number in range(len(TRIPPED), count):
        text = next(others) if number % 2 else MAKERS[number // 2 % len(MAKERS)](random)
        yield "".join(c for c in text if not 0xD800 <= ord(c) < 0xE000)


def main() -> None:
    """Write the folder."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("count", type=int)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    encoders: dict[str, PairEncoder] = {}
    templates: dict[str, Any] = {}
    for name, value in tokenizers().items():
        data = json.dumps(value, ensure_ascii=False)
        (options.out / f"{name}.json").write_text(data, encoding="utf-8")
        made = Tokenizer.from_str(data)
        template = Template.from_tokenizer(made)
        templates[name] = template.to_json()
        encoders[name] = PairEncoder(made, template, 512)
    with (options.out / "strings.jsonl").open("w", encoding="ascii", newline="\n") as file:
        file.write(json.dumps(templates) + "\n")
        for text in texts(options.count, options.seed):
            ids = {name: encoder.ids(text) for name, encoder in encoders.items()}
            file.write(json.dumps({"text": text, **ids}) + "\n")


if __name__ == "__main__":
    main()
