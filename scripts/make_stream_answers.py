#!/usr/bin/env python3
"""Write what Python's guards make of some exchanges, explained and streamed, for ports to replay.

    python scripts/make_stream_answers.py OUT

A line is an object: the `bundle`, `prompt` and `response`; `explain` (the threshold, of which text,
the parts, the places of the named ones, whether the harm is spread); and `stream`: the threshold,
the parts that came out, and where it stopped (null: nowhere). `near` is the least distance of any
score from its threshold: within the tolerance of another onnxruntime, decisions may differ.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from random import Random
from typing import Any

from harmguard import HarmfulStreamError, HarmGuard, Verdict
from harmguard.explain import explain

ROOT = Path(__file__).parents[1]
BUNDLES = {"mini": ROOT / "harmguard/models/mini", "unigram": ROOT / "tests/golden/unigram"}
SENTENCES = (
    "First heat the oven, and put a tray of water on its floor.",
    "Mix flour, water, salt and yeast; knead the dough for ten minutes!",
    "Is it soft yet?",
    "1. Yes. 2. No. 3. ...",
    "Let it rest in a warm place \U0001f35e until it has twice its size.",
    "\u5148\u628a\u9762\u56e2\u653e\u5728\u6e29\u6696\u7684\u5730\u65b9\u3002",
    "You stupid bread, I hate you and I will cut you to pieces with a knife!",
    "Then we shout at the dough, hit it, kill the yeast and burn the whole kitchen down.",
    "She said \u201cleave it alone.\u201d (So he did.)",
    "for i in range(10):\n    print(i)\n",
    "---",
    "a" * 300,
)
PROMPTS = ("How do I bake bread?", "Tell me about a bad day in a bakery.", "\u0125")


class Near:
    """A guard that remembers how near a score has come to its threshold."""

    def __init__(self, guard: HarmGuard) -> None:
        self.guard = guard
        self.near = 1.0

    def check_many(self, pairs: Iterable[tuple[str, str | None]], /) -> list[Verdict]:
        """The guard's verdicts."""
        found = self.guard.check_many(pairs)
        self.near = min([self.near, *(abs(v.score - v.threshold) for v in found)])
        return found


def exchanges(random: Random) -> Iterator[tuple[str, str | None]]:
    """Prompts with answers of a few sentences, and prompts alone."""
    yield "Is the dough soft? " * 70, None  # more sentences than parts
    for count in (0, 1, 2, 3, 4, 5, 7, 9, 12):
        for prompt in PROMPTS:
            gap = random.choice((" ", " ", "\n", "\n\n", ""))
            text = gap.join(random.choices(SENTENCES, k=count))
            yield (text, None) if text and random.random() < 0.25 else (prompt, text)


def answer(name: str, guard: HarmGuard, prompt: str, response: str | None) -> dict[str, Any]:
    """One line."""
    near = Near(guard)
    found = explain(near, prompt, response)
    line: dict[str, Any] = {"bundle": name, "prompt": prompt, "response": response}
    line["explain"] = {
        "harmful": found.verdict.harmful,
        "of": found.of,
        "parts": [[p.start, p.end, p.part, p.alone, p.drop] for p in found.parts],
        "named": sorted([p.start, p.end] for p in found.named),
        "spread": found.spread,
    }
    if response is not None:
        score = found.verdict.score
        # Above or below the whole answer's score, and far from it.
        threshold = round((score + len(response) % 2) / 2, 3)
        out: list[str] = []
        stop = None
        try:
            for part in guard.stream(prompt, [response], threshold=threshold):
                out.append(part)
        except HarmfulStreamError as error:
            stop = [error.verdict.start, error.verdict.end]
        verdicts = guard.stream(prompt, [response], threshold=threshold, hold="none")
        scores = []
        try:
            for verdict in verdicts:
                scores.append(verdict.score)
        except HarmfulStreamError as error:
            scores.append(error.verdict.score)
        near.near = min([near.near, *(abs(score - threshold) for score in scores)])
        line["stream"] = {"threshold": threshold, "parts": out, "stop": stop}
    return {**line, "near": near.near}


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    with options.out.open("w", encoding="ascii", newline="\n") as file:
        for name, path in BUNDLES.items():
            with HarmGuard(path, threads=1) as guard:
                for prompt, response in exchanges(Random(4)):
                    file.write(json.dumps(answer(name, guard, prompt, response)) + "\n")


if __name__ == "__main__":
    main()
