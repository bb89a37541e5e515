"""Draw the committed pair lengths from the development set: lengths only, no text.

HARMGUARD_DATA=... python -m benchmarks lengths TOKENIZER.json
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

from tokenizers import Tokenizer

from benchmarks.harness.command import Script
from benchmarks.harness.data import LENGTHS, val_rows
from benchmarks.harness.results import write_text

COUNT, SEED = 2000, 3


def arguments(parser: argparse.ArgumentParser) -> None:
    """TOKENIZER."""
    parser.add_argument("tokenizer", type=Path, help="tokenizer.json whose tokens are counted")


def run(options: argparse.Namespace) -> int:
    """Write val_pair_lengths.json: [prompt tokens, response tokens] of 2,000 pairs of val."""
    tokenizer = Tokenizer.from_file(str(options.tokenizer))
    tokenizer.no_truncation()
    tokenizer.no_padding()

    def count(text: str) -> int:
        return len(tokenizer.encode(text, add_special_tokens=False).ids)

    pairs = [
        [count(row.prompt), count(row.response)] for row in val_rows() if row.response is not None
    ]
    drawn = random.Random(SEED).sample(pairs, COUNT)
    value = {"what": "tokens of prompt and response", "seed": SEED, "pairs": drawn}
    write_text(LENGTHS, json.dumps(value, separators=(",", ":")) + "\n")
    print(json.dumps({"pairs": len(drawn), "of": len(pairs)}))
    return 0


COMMAND = Script(__name__, arguments, run)
