"""Write a Unigram tokenizer in mapped form, and prove that it gives the library's ids."""

from __future__ import annotations

import json
import random
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from harmguard.prepared.unigram import MappedUnigram

_CROWDED = 32
"""Tries in a crowded part of the array before it is left to nodes with a single child."""
# Code points to try out, first and last: scripts, marks, controls, spaces, symbols, planes.
_SCRIPTS = (
    *((0x20, 0x7E), (0x61, 0x7A), (0x30, 0x39), (0x00, 0x1F), (0x7F, 0xFF), (0x100, 0x24F)),
    *((0x250, 0x2FF), (0x300, 0x36F), (0x370, 0x3FF), (0x400, 0x52F), (0x530, 0x5FF)),
    *((0x600, 0x77F), (0x900, 0xDFF), (0xE00, 0xFFF), (0x1000, 0x10FF), (0x1100, 0x11FF)),
    *((0x1200, 0x18AF), (0x1E00, 0x1FFF), (0x2000, 0x206F), (0x2070, 0x2BFF), (0x2E80, 0x30FF)),
    *((0x3100, 0x33FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7AF), (0xE000, 0xE0FF), (0xF900, 0xFFFF)),
    *((0x10000, 0x107FF), (0x1D400, 0x1D7FF), (0x1F000, 0x1FAFF), (0x20000, 0x2A6DF)),
    *((0xE0000, 0xE01EF), (0x10FF00, 0x10FFFF)),
)


def probes(words: Sequence[str], count: int, seed: int = 0) -> Iterator[str]:
    """Texts that put a tokenizer to the test: characters of every script, and parts of `words`."""
    rng = random.Random(seed)
    for _ in range(count):
        parts: list[str] = []
        for _ in range(rng.randint(1, 12)):
            kind = rng.random()
            if kind < 0.5:
                script = rng.choice(_SCRIPTS)
                parts.extend(chr(rng.randint(*script)) for _ in range(rng.randint(1, 6)))
            elif kind < 0.8:
                word = rng.choice(words).replace("\u2581", " ")
                parts.append(word[rng.randint(0, 1) :])
            else:
                parts.append(rng.choice((" ", "  ", "\n", "\u2581", "\u3000", "\u200b", "a\u0301")))
        yield "".join(parts)


def first_difference(
    tokenizer: Tokenizer, mapped: MappedUnigram, texts: Iterable[str]
) -> str | None:
    """Where the ids of `mapped` differ from the library's, or None if they never do."""
    tokenizer.encode_special_tokens = True
    for number, text in enumerate(texts):
        expected = tokenizer.encode(text, add_special_tokens=False).ids
        if mapped.encode(text).ids != expected:
            return f"its ids differ from those of tokenizers on trial {number}"
    return None


def build(data: bytes, folder: Path) -> list[str]:
    """Write FILES for the tokenizer.json in `data` into `folder`; return the pieces.

    Raises ValueError that names what is not supported, before anything is written.
    """
    parts = json.loads(data)
    model = parts["model"]
    _refuse(parts)
    vocabulary = [(piece.encode(), score) for piece, score in model["vocab"]]
    trie = DoubleArray([piece for piece, _ in vocabulary])
    arrays = np.array([trie.base, trie.check, trie.value], np.int32)
    np.save(folder / "pieces.npy", arrays, allow_pickle=False)
    scores = np.array([score for _, score in vocabulary], np.float64)
    np.save(folder / "scores.npy", scores, allow_pickle=False)
    facts = {
        "unknown": model["unk_id"],
        "longest": max(len(piece) for piece, _ in vocabulary),
        "specials": [[token["id"], token["content"]] for token in parts["added_tokens"]],
    }
    (folder / "unigram.json").write_text(json.dumps(facts), encoding="utf-8")
    empty = {"type": "Unigram", "unk_id": 0, "vocab": [["", 0.0]], "byte_fallback": False}
    pipeline = {
        **parts,
        "added_tokens": [],
        "post_processor": None,
        "decoder": None,
        "model": empty,
    }
    (folder / "pipeline.json").write_text(json.dumps(pipeline), encoding="utf-8")
    return [piece for piece, _ in model["vocab"]]


def _refuse(parts: dict[str, Any]) -> None:
    """Raise ValueError for a tokenizer that a MappedUnigram would not follow."""
    model = parts["model"]
    if model.get("type") != "Unigram":
        raise ValueError(f"its model is {model.get('type')}; only Unigram can be mapped")
    pieces = [piece for piece, _ in model["vocab"]]
    reasons = {
        "it falls back to bytes": model.get("byte_fallback"),
        "it has no unknown token": model.get("unk_id") is None,
        "a piece is there twice": len(set(pieces)) != len(pieces),
        "a piece is empty": "" in pieces,
        "text is searched for tokens that are not special": not all(
            token["special"] for token in parts["added_tokens"]
        ),
        "truncation or padding is set": parts.get("truncation") or parts.get("padding"),
    }
    for reason, holds in reasons.items():
        if holds:
            raise ValueError(f"{reason}, which is not supported in mapped form")


class DoubleArray:
    """Base, check and value of a double-array trie over distinct, non-empty `pieces`.

    Node 0 is the root. The child of node s by byte c is t = base[s] + c if check[t] is s, and
    value[t] the index of the piece that ends there, or -1. (Aoe, 1989,
    https://doi.org/10.1109/32.31365)
    """

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = pieces
        self.base, self.check, self.value = array("i"), array("i"), array("i")
        self._used = bytearray()
        # Where the search for a slot starts, for nodes with one child and with several.
        self._single = self._several = 1
        self._grow(512)
        self._used[0] = 1
        order = sorted(range(len(pieces)), key=pieces.__getitem__)
        nodes = [(0, 0, len(order), 0)]
        for node, first, last, depth in nodes:  # grows as it goes: breadth first
            if len(pieces[order[first]]) == depth:
                self.value[node] = order[first]
                first += 1
            groups = list(self._groups(order, first, last, depth))
            if groups:
                self.base[node] = self._place([label for label, _, _ in groups])
            for label, start, end in groups:
                child = self.base[node] + label
                self._used[child], self.check[child] = 1, node
                nodes.append((child, start, end, depth + 1))

    def _groups(
        self, order: Sequence[int], first: int, last: int, depth: int
    ) -> Iterator[tuple[int, int, int]]:
        """Runs of sorted pieces that have the same byte at `depth`: byte, first, last + 1."""
        while first < last:
            label, start = self._pieces[order[first]][depth], first
            while first < last and self._pieces[order[first]][depth] == label:
                first += 1
            yield label, start, first

    def _place(self, labels: Sequence[int]) -> int:
        """A base that has a free slot for every label."""
        slot, tries = (self._single if len(labels) == 1 else self._several), 0
        while True:
            slot = self._used.find(0, max(slot, labels[0] + 1))
            start = slot - labels[0]
            self._grow(start + 512)
            if not any(self._used[start + label] for label in labels[1:]):
                break
            slot, tries = slot + 1, tries + 1
        if len(labels) == 1:
            self._single = slot + 1
        elif tries > _CROWDED:
            self._several = slot
        return start

    def _grow(self, size: int) -> None:
        more = max(0, size - len(self._used))
        self._used.extend(bytes(more))
        self.base.extend([0] * more)
        self.check.extend([-1] * more)
        self.value.extend([-1] * more)
