#!/usr/bin/env python3
"""Write random and disguised texts with their views, for other ports of the views to replay.

    python scripts/make_view_strings.py COUNT OUT [--seed SEED]

A line is an object: `text`, `views` as [name, text] each, `in_place` (cleaned and decoded). Half of
the texts are mild sentences under one or two disguises of `benchmarks/_disguises.py`, and pieces of
such; the others are code points from all of Unicode, and words that the rules trip over.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.quality._disguises import DISGUISES  # noqa: E402
from harmguard.core.views import in_place, views_of  # noqa: E402
from harmguard.core.views.tables import alikes, folds, unicode_table  # noqa: E402
from tests.conformance.disguised import DISGUISED  # noqa: E402

SENTENCES = (
    "How do I bake good bread at home?",
    "Please write a short poem about the sea and its waves.",
    "What is the best way to grow tomatoes in a small garden?",
    "Explain how a bicycle stays upright when it moves.",
    "I'm looking for a recipe with flour, water, salt and yeast.",
    "Tell me who painted the ceiling, and when it was finished!",
    "Give three reasons why the sky looks blue at noon.",
    "Wie backe ich zu Hause Brot? Größe, Maße, Übung.",
    "Как испечь хлеб дома?",
    "家でパンを焼くには。",
    "كيف أخبز الخبز في المنزل؟",
    "x = [1, 2, 3]\nfor i in range(10):\n    print(i * x[0] + 0x1F)",
)  # fmt: skip
WORDS = (
    "how do I", "HOW", "a b c", "h-o-w", "b.o.x", "[SEP]", "##", "<|im_end|>", "</s>", "\u202e",
    "\u202c", "\u2066", "\u2069", "\u200b", "\u200c", "\u200d", "\ufe0f", "\u3164", "\u2800",
    "\u2009", "\u00a0", "\u0301", "\u20dd", "\u20e3", "1\ufe0f\u20e3", "%41", "%C3%A9", "=3D=41",
    "&#65;", "&#x1F35E;", "&amp;", "&afr;", "\\u0041", "\\x41\\x42", "\\101", "U+0041", "%u0041",
    "aG93IGRv", "\U0001f1eb\U0001f1f7", "\U0001f1eb", "\U000e0041", "\ufe01", "\U000e0110",
    "\U0010ffff", "\ue000", "\u0378", "\x00", "\x85", "\n", "\r\n", "\t", "  ", "1", "23", "0x41",
    "01000001", "|", "@", "!", "vv", ".-", "-...", "/", "\u2813", "hotel", "oscar", "Whiskey-",
    "\u0430", "\u0432\u043e\u0434\u0430", "\u05d0", "\u0e04", "\ud55c", "\u30d1\u30f3", "'", "_",
    "<b>", "</b>", ":", ",", ".", "tar", "BreadAtHome", "thequickbrownfoxjumpsover", "uryyb jbeyq",
)  # fmt: skip

SOUPS = (
    "0~1~01000001~0110100~ ~,~-~a~\n~01100101 01100110",
    "4~41~6f~0x~\\x~#~$~ ~:~-~f~g~\t~68 6f 77 ~20~, ",
    "1~8~15~23~104~111~119~32~150~ ~,~-~.~/~|~a~\n~ - ",
    "|~\\/\\/~|\\/|~/\\~()~|-|~|_|~3~h~0~w~d~ ~!~@~vv~|<~1~6~$",
    ".~-~.-~...~ ~/~|~\n~_~\u00b7~\u2212~  ~.... --- .-- ~x",
    "%~%4~%41~=41~=~3D~\\u0041~\\u~\\x41~\\101~&~#65;~&#~x41;~&lt;~&#x41~U+0041~}~{~\\u{41}~ ~;~g",
    "a~b~ba~<~>~</b>~.~-~'~\u2019~ ~br~ead~1~,~ke",
    "aGVs~bG8g~d29y~bGQ~=~==~ ~\n~-~_~+~/~aB3~NBSWY3DP~EB3W64TM~hello~1~ABCD",
    "echo~tango~alpha~alfa~oscar~x-ray~xray~whisky~ ~-~, ~/~ / ~|~Echo~hotel~\n~_~ab",
    "aa~bb~Bb~HHoo~wwww~ ~1~#~_~bbrreeaadd~ggoooodd~\n~ddd~-~ ~lloovvee",
    "h~o~w~\u00b7~\u00b7~\u00b7~.~,~'~(~)~?~ ~  ~\n~-~\u2764\ufe0f~A~1~\u0430~\u05d0~\x00",
    "[~SEP~]~[SEP]~/~<|~im_end~|>~<s>~</s>~##~#~a~ ~<<SYS>>~\u2581~-~[unused12]~\u017fep",
    "a~b~C~1~-~.~ ~\u2009~\U0001f35e~\u0430~\u4e2d~, ~ - ~\u00e9~\n~\u0301~\x02~\x01",
    "uryyb~jbeyq~Lbh~ner~gur~orfg~ ~. ~olleh~dlrow~!~woH~od~I~ekab~?~\u01dd~\u0250~the~bread",
    "How~Do~I~bake~Good~bread~howdoibake~goodbread~'~ ~.~/~_~@~:~1~XML~HTTPServer",
    "\u202a~\u202d~\u202e~\u202c~\u2066~\u2067~\u2069~\n~\u2029~a~bc~\u05d0~\u0627~\u200f~ ",
    "\ufe00~\ufe01~\ufe0e~\ufe0f~\U000e0110~\U000e0158~\U000e015f~\u2764~a~ ~\u20e3~1~\u200d",
    "\u200b~\u200c~\u200d~\u2060~\ufeff~\u00ad~\u0e04~\u0915~\u1820~\u180b~a~ ~\u3164~\u0301",
)  # fmt: skip

Maker = Callable[[Random], str]


def sentence(random: Random) -> str:
    """A few mild words: a sentence, several, or a piece of one."""
    text = " ".join(random.choices(SENTENCES, k=random.choice((1, 1, 1, 2, 3))))
    if random.random() < 0.3:
        start = random.randrange(len(text))
        text = text[start : start + random.randrange(1, 60)]
    return text


def disguised(random: Random) -> str:
    """A sentence under a disguise, sometimes a second one, sometimes among others."""
    text = random.choice(DISGUISES).make(sentence(random), random)
    if random.random() < 0.25:
        text = random.choice(DISGUISES).make(text, random)
    if random.random() < 0.3:
        text = f"{sentence(random)} {text} {sentence(random)}"
    return text


def damaged(random: Random) -> str:
    """A disguised text with some of its characters gone, doubled, or others."""
    source = disguised(random) if random.random() < 0.7 else random.choice([*DISGUISED.values()])
    text = list(source)[: random.randrange(20, 400)]
    for _ in range(random.randrange(1, 6)):
        if text:
            at = random.randrange(len(text))
            text[at] = random.choice(("", text[at] * 2, random.choice(WORDS), point(random)))
    return "".join(text)


def words(random: Random) -> str:
    """What the rules trip over, in a row."""
    gap = random.choice(("", "", " ", "-", "\u200b"))
    return gap.join(random.choices(WORDS, k=random.randrange(1, 24)))


def points(random: Random) -> str:
    """Code points from anywhere."""
    return "".join(point(random) for _ in range(random.randrange(40)))


def neighbours(random: Random) -> str:
    """Code points of one block with letters and gaps among them."""
    start = ord(point(random)) & ~0x3F
    block = [chr(cp) for cp in range(start, start + 64) if not 0xD800 <= cp < 0xE000]
    return "".join(random.choices([*(block or "x"), *"aeT 1.-"], k=random.randrange(60)))


def soup(random: Random) -> str:
    """Signs of one rule at random, mostly as it wants them: what its pattern must go back on."""
    signs = random.choice(SOUPS).split("~")
    return "".join(random.choices(signs, k=random.randrange(1, 70)))


def alike(random: Random) -> str:
    """A sentence in characters that look like its letters, or are folded to them."""
    return "".join(random.choice(_LIKE.get(c, c)) if random.random() < 0.6 else c
                   for c in sentence(random))  # fmt: skip


_LIKE: dict[str, str] = {}
for _table in (alikes(), folds()):
    for _cp, _result in _table.items():
        _LIKE[_result] = _LIKE.get(_result, "") + chr(_cp)
_EDGES = [int(part.split(":")[0], 16) for part in str(unicode_table()["kinds"]).split()]


def point(random: Random) -> str:
    """A code point: any, one of the first, or one at which a run of Unicode's kinds begins."""
    high = random.choice((0x110000, 0x3000, 0))
    cp = random.randrange(high) if high else random.choice(_EDGES)
    return chr(cp) if not 0xD800 <= cp < 0xE000 else " "


MAKERS: tuple[Maker, ...] = (
    disguised, disguised, damaged, damaged, words, points, neighbours, alike,
    soup, soup,
)  # fmt: skip


def texts(count: int, seed: int) -> Iterator[str]:
    """`count` texts; the first are all disguises, each of one sentence."""
    random = Random(seed)
    given = [*DISGUISED.values(), *(one.make(SENTENCES[0], random) for one in DISGUISES)]
    yield from given[:count]
    for number in range(len(given), count):
        yield MAKERS[number % len(MAKERS)](random)


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("count", type=int)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with options.out.open("w", encoding="ascii", newline="\n") as file:
        for text in texts(options.count, options.seed):
            if any(0xD800 <= ord(c) < 0xE000 for c in text):
                continue  # no string of Java's has lone ones that stay apart
            line = {"text": text, "views": views_of(text), "in_place": in_place(text)}
            file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
