"""Make the vectors of sentences, tests/golden/sentences.jsonl: where texts are cut.

python -m tests.conformance.sentences
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harmguard.core.files import write_file
from harmguard.core.sentences import CLOSERS, LINES, SPACED_ENDS, SPACES, WIDE_ENDS, Cutter
from harmguard.stream import LONGEST, SENTENCE

VECTORS = Path(__file__).parents[1] / "golden" / "sentences.jsonl"
RULES = {"explain": (12, 240), "stream": (SENTENCE, LONGEST), "tight": (2, 8)}

TEXTS = {
    "nothing": "",
    "two sentences": "This is the first one. And this is the second one.",
    "numbers and abbreviations": "Dr. Lee paid 3.14 dollars, e.g. for tea. 1. Yes. 2. No.",
    "quotes and brackets": 'She said "leave it alone." (So he did.) *Then it was over.* The end.',
    "lines": "for i in range(10):\n    print(i)\n\n\n# done with it\r\nnext = 3\u2028last line",
    "ideographs": "\u8fd9\u662f\u4e00\u4e2a\u5f88\u957f\u7684\u53e5\u5b50\uff0c\u4e0d\u662f"
    "\u5417\uff1f\u300c\u7b2c\u4e8c\u53e5\u8bdd\u4e5f\u5728\u8fd9\u91cc\u3002\u300d\u597d",
    "devanagari": "\u092f\u0939 \u090f\u0915 \u0932\u0902\u092c\u093e \u0935\u093e\u0915\u094d"
    "\u092f \u0939\u0948\u0964 \u0926\u0942\u0938\u0930\u093e \u0935\u093e\u0915\u094d\u092f",
    "arabic": "\u0647\u0644 \u0647\u0630\u0647 \u062c\u0645\u0644\u0629 \u0637\u0648\u064a\u0644"
    "\u0629\u061f \u0646\u0639\u0645 \u0625\u0646\u0647\u0627 \u0637\u0648\u064a\u0644\u0629",
    "emoji": "That was great \U0001f600! \U0001f468\u200d\U0001f469\u200d\U0001f467 came as well."
    " And nobody else came.",
    "words without an end": "word " * 100,
    "no spaces": "x" * 500,
    "a late space": "a" * 230 + " " + "b" * 300,
    "an early space": "a" * 20 + " " + "b" * 500,
    "white space alone": " \n\t\u3000\n" * 60,
    "marks alone": "?!... " * 60,
    "prose": "The oven is hot. Put the bread on the stone, and close the door quickly! " * 8,
    "wide marks and spaces": "\u4e00\u4e8c\u4e09\u56db\u4e94\u516d\u4e03\u516b\u4e5d\u5341"
    "\u4e00\u4e8c\u3002 \u300d \u3002\u3002\u4e00",
}


def lines() -> list[dict[str, Any]]:
    """The tables, then a line for each text: the ends of its sentences by each rule."""
    tables = {
        "spaced_ends": SPACED_ENDS, "wide_ends": WIDE_ENDS, "closers": CLOSERS,
        "lines": LINES, "spaces": SPACES,
    }  # fmt: skip
    rules = {name: {"least": least, "most": most} for name, (least, most) in RULES.items()}
    cut = [
        {"about": about, "text": text, **{name: ends(text, *rule) for name, rule in RULES.items()}}
        for about, text in TEXTS.items()
    ]
    return [{"format": 1, "rules": rules, **tables}, *cut]


def ends(text: str, least: int, most: int) -> list[int]:
    """Where the sentences end that are seen to end; what is left is the last sentence."""
    return Cutter(least, most).push(text)


def main() -> None:
    """Write the vectors in place of those that are there."""
    write_file(VECTORS, "".join(json.dumps(line) + "\n" for line in lines()), replace=True)


if __name__ == "__main__":
    main()
