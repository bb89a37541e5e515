"""Benign text of an exact number of tokens, so that no data set is needed for a timing."""

from __future__ import annotations

import math
import random
from pathlib import Path

from tokenizers import Tokenizer

from harmguard.errors import BenchError

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

Exchange = tuple[str, str]


class TextMaker:
    """Makes text from common words that the tokenizer keeps whole, the same for the same seed."""

    def __init__(self, tokenizer_file: Path, seed: int) -> None:
        self._tokenizer = Tokenizer.from_file(str(tokenizer_file))
        self._random = random.Random(seed)
        one = self._count("the the")
        self._words = [w for w in WORDS if self._count(f"the {w}") == one and self._count(w) == 1]
        if len(self._words) < MIN_WORDS:
            raise BenchError(
                f"{len(self._words)} of {len(WORDS)} common words are one token in "
                f"{tokenizer_file.name}; expected at least {MIN_WORDS}; likely not an English one"
            )

    def text(self, tokens: int) -> str:
        """A text of exactly `tokens` tokens, special tokens not counted."""
        text = " ".join(self._random.choices(self._words, k=tokens))
        if self._count(text) != tokens:
            raise BenchError(
                f"a text made for {tokens} tokens has {self._count(text)}; "
                "likely a tokenizer that merges words"
            )
        return text

    def pair(self, tokens: int) -> Exchange:
        """A prompt and a response of `tokens` tokens together, a quarter of them the prompt's."""
        prompt = max(1, tokens // 4)
        return self.text(prompt), self.text(tokens - prompt)

    def mixed_pairs(self, count: int, shortest: int, longest: int) -> list[Exchange]:
        """`count` pairs of `shortest` to `longest` tokens, evenly on a logarithmic scale."""
        low, high = math.log(shortest), math.log(longest)
        lengths = [round(math.exp(self._random.uniform(low, high))) for _ in range(count)]
        return [self.pair(tokens) for tokens in lengths]

    def _count(self, text: str) -> int:
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids)
