"""Unigram tokenisation from mapped files: the pieces are searched on disk, not held in memory.

The tokenizers library holds over 100 MB for a vocabulary of 128,100 pieces. Here the pieces are a
double-array trie that is mapped, and the best path through a word (Viterbi) is found in Python, by
the rules of the library: the same scores in double precision, the same ties, the same unknown
runs. Normalising and splitting into words stays with the library, which needs no pieces for it.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer
from tokenizers.models import Unigram

from harmguard.core.tokenizing import encode_text

FILES = ("pieces.npy", "scores.npy", "pipeline.json", "unigram.json")
"""What `_unigram_build.build` writes, and a MappedUnigram reads."""
UNKNOWN_PENALTY = 10.0
"""An unknown character scores this much less than the worst piece."""
_CACHED_WORDS = 4096
_CACHED_CHARS = 32


@dataclass(frozen=True)
class Special:
    """A special token, as `get_added_tokens_decoder` of the library describes one."""

    content: str
    special: bool = True


@dataclass(frozen=True)
class Encoding:
    """The ids of a text."""

    ids: list[int]


class MappedUnigram:
    """A Unigram tokenizer over FILES, with the methods that encoders use.

    Special tokens are never found in a text: it encodes as the library does with
    `encode_special_tokens` set. `encode` may be called by several threads at once.
    """

    truncation = None
    padding = None
    model = None

    def __init__(self, folder: Path) -> None:
        """Map the files in `folder`; OSError or ValueError if they cannot be read."""
        self.encode_special_tokens = True
        self._pipeline = Tokenizer.from_file(str(folder / "pipeline.json"))
        # Without pieces every word is one unknown token, and its text the word. The one piece
        # that a model must have is one that no text can be made to hold.
        self._pipeline.model = Unigram([(secrets.token_hex(16), 0.0)], 0, False)
        facts = json.loads((folder / "unigram.json").read_text(encoding="utf-8"))
        self._unknown: int = facts["unknown"]
        self._longest: int = facts["longest"]
        self._specials = {id_: Special(content) for id_, content in facts["specials"]}
        arrays = np.load(folder / "pieces.npy", mmap_mode="r", allow_pickle=False)
        scores = np.load(folder / "scores.npy", mmap_mode="r", allow_pickle=False)
        # Indexing a memoryview takes a fifth of the time that indexing an array does.
        self._base, self._check, self._value = (memoryview(row) for row in arrays)
        self._scores = memoryview(scores)
        self._unknown_score = float(scores.min()) - UNKNOWN_PENALTY
        self._cache: dict[str, list[int]] = {}

    def encode(self, text: str, add_special_tokens: bool = False) -> Encoding:
        """Token ids of `text`, without special tokens, in time linear in its length."""
        if add_special_tokens:
            raise ValueError("special tokens come from a template; expected none to be asked for")
        ids: list[int] = []
        for word in encode_text(self._pipeline, text).tokens:
            found = self._cache.get(word)
            if found is None:
                found = self._word(word.encode())
                if len(word) <= _CACHED_CHARS:
                    if len(self._cache) >= _CACHED_WORDS:
                        self._cache.clear()
                    self._cache[word] = found
            ids.extend(found)
        return Encoding(ids)

    def token_to_id(self, token: str) -> int | None:
        """The id of a piece or of a special token."""
        found = self._find(token.encode())
        if found is None:
            ids = (id_ for id_, special in self._specials.items() if special.content == token)
            found = next(ids, None)
        return found

    def get_vocab_size(self, with_added_tokens: bool = False) -> int:
        """How many pieces there are; special tokens that are no pieces do not count."""
        return len(self._scores)

    def get_added_tokens_decoder(self) -> dict[int, Special]:
        """The special tokens by id."""
        return self._specials

    def _find(self, piece: bytes) -> int | None:
        node = 0
        for byte in piece:
            after = self._base[node] + byte
            if self._check[after] != node:
                return None
            node = after
        return self._value[node] if self._value[node] >= 0 else None

    def _word(self, word: bytes) -> list[int]:
        """Ids of the best path through one word. Of equal ones the first found stays."""
        base, check, value, scores = self._base, self._check, self._value, self._scores
        longest, unknown = self._longest, self._unknown
        best = [0.0] * (len(word) + 1)
        came = [-1] * (len(word) + 1)
        piece = [unknown] * (len(word) + 1)
        start = 0
        while start < len(word):
            here, lead = best[start], word[start]
            width = 1 if lead < 0x80 else 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
            known, node, end = False, 0, start
            for byte in word[start : start + longest]:
                after = base[node] + byte
                if check[after] != node:
                    break
                node, end = after, end + 1
                id_ = value[node]
                if id_ >= 0:
                    total = scores[id_] + here
                    if came[end] < 0 or total > best[end]:
                        best[end], came[end], piece[end] = total, start, id_
                    known = known or end - start == width
            if not known:
                end = start + width
                total = self._unknown_score + here
                if came[end] < 0 or total > best[end]:
                    best[end], came[end], piece[end] = total, start, unknown
            start += width
        return self._path(word, came, piece)

    def _path(self, word: bytes, came: Sequence[int], piece: Sequence[int]) -> list[int]:
        """Ids from the end of a word back to its start; neighbouring unknown ones are one."""
        ids: list[int] = []
        end, run = len(word), None
        while end > 0:
            if piece[end] != self._unknown:
                if run is not None:
                    ids.append(self._fused(word[end:run]))
                    run = None
                ids.append(piece[end])
            elif run is None:
                run = end
            end = came[end]
        if run is not None:
            ids.append(self._fused(word[:run]))
        return ids[::-1]

    def _fused(self, run: bytes) -> int:
        found = self._find(run)
        return self._unknown if found is None else found
