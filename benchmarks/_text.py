"""Benign text of an exact number of tokens, so that no data set is needed for a timing."""

from __future__ import annotations

import json
import random
from pathlib import Path

from tokenizers import Tokenizer

from benchmarks._errors import BenchmarkDataError

WORDS = """
the a and of to in for with on from after before while because when where how what which some
many small large green blue old new warm cold bright quiet early late good short long garden
kitchen river bread water paper window table letter morning evening summer winter school teacher
student friend family music picture story question answer number city street train market coffee
apple orange bird horse tree flower mountain island ocean weather rain snow light color house
door room book page word sentence recipe cup spoon oven butter sugar salt rice soup dinner walk
read write draw paint cook plant grow clean open close bring carry find learn teach help visit
travel choose share explain describe compare measure count build repair plan
""".split()

MIN_WORDS = 8

LENGTHS = Path(__file__).parent / "inputs" / "val_pair_lengths.json"

Pair = tuple[str, str]


class TextMaker:
    """Makes text from common words that the tokenizer keeps whole, the same for the same seed."""

    def __init__(self, tokenizer_file: Path, seed: int) -> None:
        self._tokenizer = Tokenizer.from_file(str(tokenizer_file))
        self._random = random.Random(seed)
        one = self._count("the the")
        self._words = [w for w in WORDS if self._count(f"the {w}") == one and self._count(w) == 1]
        if len(self._words) < MIN_WORDS:
            raise BenchmarkDataError(
                f"{len(self._words)} of {len(WORDS)} common words are one token in "
                f"{tokenizer_file.name}; expected at least {MIN_WORDS}; likely not an English one"
            )

    def text(self, tokens: int) -> str:
        """A text of exactly `tokens` tokens, special tokens not counted."""
        text = " ".join(self._random.choices(self._words, k=tokens))
        if self._count(text) != tokens:
            raise BenchmarkDataError(
                f"a text made for {tokens} tokens has {self._count(text)}; "
                "likely a tokenizer that merges words"
            )
        return text

    def pair(self, tokens: int) -> Pair:
        """A prompt and a response of `tokens` tokens together, a quarter of them the prompt's."""
        prompt = max(1, tokens // 4)
        return self.text(prompt), self.text(tokens - prompt)

    def pairs_like_val(self, count: int, room: int) -> list[Pair]:
        """`count` pairs with the token lengths of the development set's pairs.

        A pair longer than `room` tokens loses the end of its longer side: windows would make
        harmguard do work that the others leave out by cutting.
        """
        lengths = json.loads(LENGTHS.read_text(encoding="utf-8"))["pairs"]
        if count > len(lengths):
            raise BenchmarkDataError(f"{count} pairs asked for; {LENGTHS.name} has {len(lengths)}")
        return [self._fitted(p, r, room) for p, r in lengths[:count]]

    def _fitted(self, prompt: int, response: int, room: int) -> Pair:
        over = max(0, prompt + response - room)
        if prompt > response:
            prompt = max(1, prompt - over)
        else:
            response = max(1, response - over)
        return self.text(min(prompt, room - 1)), self.text(min(response, room - 1))

    def _count(self, text: str) -> int:
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids)
