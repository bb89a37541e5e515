"""harmguard.bench.text: texts of exact lengths."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from harmguard.bench.text import WORDS, TextMaker
from harmguard.errors import BenchError


def tokenizer(path: Path, words: list[str]) -> Path:
    made = Tokenizer(models.WordLevel({w: i for i, w in enumerate([*words, "[U]"])}, "[U]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.save(str(path))
    return path


@pytest.fixture
def maker(tmp_path: Path) -> TextMaker:
    return TextMaker(tokenizer(tmp_path / "tokenizer.json", sorted(set(WORDS))), seed=1)


def words(*texts: str) -> int:
    return sum(len(text.split()) for text in texts)


@pytest.mark.parametrize("tokens", [2, 3, 13, 509])
def test_pairs_have_the_tokens_asked_for(maker: TextMaker, tokens: int) -> None:
    prompt, response = maker.pair(tokens)
    assert words(prompt, response) == tokens
    assert words(prompt) == max(1, tokens // 4)


def test_the_same_seed_gives_the_same_text(tmp_path: Path) -> None:
    path = tokenizer(tmp_path / "tokenizer.json", sorted(set(WORDS)))
    assert TextMaker(path, 5).text(50) == TextMaker(path, 5).text(50)
    assert TextMaker(path, 5).text(50) != TextMaker(path, 6).text(50)


def test_mixed_pairs_are_within_their_bounds(maker: TextMaker) -> None:
    lengths = [words(*pair) for pair in maker.mixed_pairs(200, 16, 400)]
    assert 16 <= min(lengths) < 20
    assert 350 < max(lengths) <= 400
    assert sum(length < 80 for length in lengths) > 80


def test_a_tokenizer_that_splits_common_words(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    made = Tokenizer.from_file(str(tokenizer(path, ["q"])))
    made.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    made.save(str(path))
    with pytest.raises(BenchError, match=r"common words are one token in tokenizer.json"):
        TextMaker(path, 1)
