"""Mapped Unigram tokenizers give the ids of the tokenizers library, or are refused by name."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import BPE, Unigram

from harmguard.core.encode import PairEncoder, Template
from harmguard.prepared import unigram as mapped_unigram
from harmguard.prepared.unigram import MappedUnigram
from harmguard.prepared.unigram_build import DoubleArray, build, first_difference, probes

from . import pieces
from .pieces import SPECIALS, UNKNOWN

BY_PUNCTUATION = [
    pre_tokenizers.Punctuation(behavior="isolated"),
    pre_tokenizers.Metaspace(prepend_scheme="first"),
]
PARTS: dict[str, Callable[[], dict[str, Any]]] = {
    "transformers 4": dict,
    "transformers 5": lambda: {
        "normalizer": normalizers.Sequence(
            [
                normalizers.Replace(Regex(r"\s{2,}|[\n\r\t]"), " "),
                normalizers.NFC(),
                normalizers.Strip(left=False, right=True),
            ]
        )
    },
    "lower case, by punctuation, prefix first": lambda: {
        "normalizer": normalizers.Sequence([normalizers.Lowercase(), normalizers.Strip()]),
        "pre_tokenizer": pre_tokenizers.Sequence(BY_PUNCTUATION),
    },
    "not split into words": lambda: {"pre_tokenizer": pre_tokenizers.Metaspace(split=False)},
    "nothing before the model": lambda: {"normalizer": None, "pre_tokenizer": None},
}


def mapped(tokenizer: Tokenizer, folder: Path) -> MappedUnigram:
    build(tokenizer.to_str().encode(), folder)
    return MappedUnigram(folder)


def same(tokenizer: Tokenizer, found: MappedUnigram, texts: Iterable[str]) -> None:
    tokenizer.encode_special_tokens = True
    for text in texts:
        assert found.encode(text).ids == tokenizer.encode(text, add_special_tokens=False).ids, text


TEXTS = (
    *("", " ", "\u2581", "a", "bread", "  How   do I bake bread? "),
    *("[CLS] bread [SEP][UNK][UNK] [MASK]", "[UNK]\u2603[UNK]", "x\u0000y\u0001"),
    *("\u2603", "\u2603\u2603 \u2603x\u2603", "\ufb01ne \u2460 \u2167 \u1e9b\u0323"),
    *(
        "e\u0301 \u00e9 \u1112\u1161\u11ab \ud55c",
        "\U0001f469\u200d\U0001f467 \U0001f44d\U0001f3fd",
    ),
    *(
        "\u0643\u064a\u0641 \u05d0\u05d9\u05da \u0e02\u0e19 \u0939\u093f",
        "\u3000\u00a0\u2003\u200b\ufeff",
    ),
    *("\uffff\ufffd\U0010ffff \ue000", "babebibo" * 2000, "\u2603" * 3000, "\u4e00\u4e01" * 1000),
)


@pytest.mark.parametrize("name", PARTS)
def test_ids_are_those_of_the_library(name: str, tmp_path: Path) -> None:
    tokenizer = pieces.tokenizer(**PARTS[name]())
    found = mapped(tokenizer, tmp_path)
    same(tokenizer, found, [*TEXTS, *pieces.TEXT])
    same(tokenizer, found, probes([piece for piece, _ in pieces.pieces(500)], 300, seed=5))


SMALL = st.text("ab\u2581\u00e9\u4e00\U0001f600", min_size=1, max_size=5)
SCORES = st.sampled_from([-1.0, -2.0, -2.5, -3.0, -7.25, 0.0, 4.0, 30.0])


@settings(max_examples=100)
@given(
    vocabulary=st.dictionaries(SMALL, SCORES, max_size=40),
    texts=st.lists(st.text("ab \u00e9\u4e00\U0001f600x?", max_size=30), max_size=5),
)
def test_any_vocabulary_and_text(vocabulary: dict[str, float], texts: list[str]) -> None:
    """Ties, unknown runs that spell a piece, and positive scores are all followed."""
    entries = [("?", 0.0), *((piece, score) for piece, score in vocabulary.items())]
    tokenizer = Tokenizer(Unigram(entries, 0, False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    with TemporaryDirectory() as folder:
        same(tokenizer, mapped(tokenizer, Path(folder)), texts)


@given(text=st.text(max_size=100))
def test_any_text(any_text: tuple[Tokenizer, MappedUnigram], text: str) -> None:
    same(*any_text, [text])


@pytest.fixture(scope="module")
def any_text(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tokenizer, MappedUnigram]:
    tokenizer = pieces.tokenizer()
    return tokenizer, mapped(tokenizer, tmp_path_factory.mktemp("mapped"))


@pytest.mark.slow
def test_a_long_fuzz_at_full_size(tmp_path: Path) -> None:
    """128,100 pieces, as DeBERTa-v3 has, and 100,000 texts in every script."""
    tokenizer = pieces.tokenizer(128_100)
    words = [piece for piece, _ in pieces.pieces(5000)]
    same(tokenizer, mapped(tokenizer, tmp_path), probes(words, 100_000, seed=11))


# The words that are remembered, and threads


def test_more_words_than_are_remembered(
    any_text: tuple[Tokenizer, MappedUnigram], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mapped_unigram, "_CACHED_WORDS", 7)
    rng = random.Random(2)
    texts = [" ".join(rng.choices("abcdefg", k=9)) + " " + "x" * 40 for _ in range(30)]
    same(*any_text, texts)
    assert len(any_text[1]._cache) <= 7
    assert all(len(word) <= 32 for word in any_text[1]._cache)


def test_threads(any_text: tuple[Tokenizer, MappedUnigram]) -> None:
    tokenizer, found = any_text
    texts = list(probes(["bread"], 200, seed=8))
    with ThreadPoolExecutor(4) as pool:
        ids = [encoding.ids for encoding in pool.map(found.encode, texts)]
    tokenizer.encode_special_tokens = True
    assert ids == [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]


# As an encoder uses it


def test_windows_are_the_same(any_text: tuple[Tokenizer, MappedUnigram]) -> None:
    template = Template.from_tokenizer(any_text[0])
    one, two = (PairEncoder(each, template, 32) for each in any_text)
    for prompt, response in [("[CLS] bread \u2603", "[SEP]" * 30), ("How do I " * 40, None)]:
        ours, theirs = two.encode(prompt, response), one.encode(prompt, response)
        assert [w.ids.tolist() for w in ours.windows] == [w.ids.tolist() for w in theirs.windows]
        assert ours.tokens == theirs.tokens


def test_ids_of_tokens(tmp_path: Path) -> None:
    tokenizer = pieces.tokenizer(400)
    tokenizer.add_special_tokens(["[EXTRA]"])
    found = mapped(tokenizer, tmp_path)
    for token in (*SPECIALS, "[EXTRA]", "\u2581", "no such piece", "", "[CL"):
        assert found.token_to_id(token) == tokenizer.token_to_id(token), token
    added = tokenizer.get_added_tokens_decoder()
    decoder = found.get_added_tokens_decoder()
    assert {id_: token.content for id_, token in decoder.items()} == {
        id_: token.content for id_, token in added.items()
    }
    assert all(token.special for token in decoder.values())
    assert found.truncation is found.padding is found.model is None
    with pytest.raises(ValueError, match="special tokens come from a template"):
        found.encode("a", add_special_tokens=True)


# What is refused


def unigram(*entries: tuple[str, float], unknown: int | None = 0, fallback: bool = False) -> Any:
    return Tokenizer(Unigram([("?", 0.0), *entries], unknown, fallback))


def with_token() -> Tokenizer:
    tokenizer = unigram(("a", -1.0))
    tokenizer.add_tokens([AddedToken("bread", normalized=False)])
    return tokenizer


def with_truncation() -> Tokenizer:
    tokenizer = unigram(("a", -1.0))
    tokenizer.enable_truncation(5)
    return tokenizer


REFUSED: dict[str, Callable[[], Tokenizer]] = {
    "its model is BPE; only Unigram can be mapped": lambda: Tokenizer(BPE()),
    "it falls back to bytes, which is not": lambda: unigram(("<0x61>", -1.0), fallback=True),
    "it has no unknown token, which": lambda: unigram(unknown=None),
    "a piece is there twice": lambda: unigram(("a", -1.0), ("a", -2.0)),
    "a piece is empty": lambda: unigram(("", -1.0)),
    "text is searched for tokens that are not special": with_token,
    "truncation or padding is set": with_truncation,
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_is_not_supported_is_named(reason: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=reason):
        build(REFUSED[reason]().to_str().encode(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_difference_is_found(tmp_path: Path) -> None:
    other = unigram(("a", -1.0), ("b", -1.0), ("ab", -9.0))
    found = mapped(unigram(("a", -1.0), ("b", -1.0), ("ab", -0.5)), tmp_path)
    assert first_difference(other, found, ["a", "ba", "b"]) is None
    reason = "its ids differ from those of tokenizers on trial 1"
    assert first_difference(other, found, ["a", "ab"]) == reason


def test_files_are_read_without_pickle(tmp_path: Path) -> None:
    mapped(unigram(("a", -1.0)), tmp_path)
    np.save(tmp_path / "scores.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(ValueError, match="Python objects in dtype"):
        MappedUnigram(tmp_path)


@given(st.sets(st.binary(min_size=1, max_size=6), min_size=1, max_size=60))
def test_a_double_array_holds_its_pieces_and_no_others(keys: set[bytes]) -> None:
    ordered = list(keys)
    trie = DoubleArray(ordered)

    def find(piece: bytes) -> int:
        node = 0
        for byte in piece:
            after = trie.base[node] + byte
            if trie.check[after] != node:
                return -1
            node = after
        return trie.value[node]

    assert [find(piece) for piece in ordered] == list(range(len(ordered)))
    for piece in ordered:
        for other in (piece[:-1], piece + b"\x00", piece + b"\xff"):
            assert find(other) == (ordered.index(other) if other in keys else -1)


def test_vocabulary_is_not_kept(tmp_path: Path) -> None:
    mapped(pieces.tokenizer(1000), tmp_path)
    assert len(json.loads((tmp_path / "pipeline.json").read_text())["model"]["vocab"]) == 1
    assert UNKNOWN == json.loads((tmp_path / "unigram.json").read_text())["unknown"]
