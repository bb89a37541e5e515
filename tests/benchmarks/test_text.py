"""benchmarks._text and _data: texts of exact lengths, and the development set."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from benchmarks._data import Row, val_rows
from benchmarks._errors import BenchmarkDataError
from benchmarks._text import LENGTHS, WORDS, TextMaker


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


def test_pairs_like_val_have_its_lengths_and_fit(maker: TextMaker) -> None:
    lengths = json.loads(LENGTHS.read_text(encoding="utf-8"))["pairs"]
    assert len(lengths) == 2000
    pairs = maker.pairs_like_val(300, room=509)
    assert max(words(*pair) for pair in pairs) == 509
    for (p, r), pair in zip(lengths, pairs, strict=False):
        if p + r <= 509:
            assert (p, r) == (words(pair[0]), words(pair[1]))


def test_more_pairs_than_there_are(maker: TextMaker) -> None:
    with pytest.raises(BenchmarkDataError, match=r"3000 pairs asked for; .* has 2000"):
        maker.pairs_like_val(3000, room=509)


def test_a_tokenizer_that_splits_common_words(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    made = Tokenizer.from_file(str(tokenizer(path, ["q"])))
    made.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    made.save(str(path))
    with pytest.raises(BenchmarkDataError, match=r"common words are one token in tokenizer.json"):
        TextMaker(path, 1)


def test_val_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARMGUARD_DATA", str(tmp_path))
    rows = [
        {"prompt": "p", "response": "", "label": 1, "source": "s", "task": "prompt"},
        {"prompt": "p", "response": "", "label": 0, "source": "s", "task": "response"},
    ]
    with gzip.open(tmp_path / "val.jsonl.gz", "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    assert val_rows() == [Row("p", None, 1, "s"), Row("p", "", 0, "s")]


def test_no_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HARMGUARD_DATA", raising=False)
    with pytest.raises(BenchmarkDataError, match="HARMGUARD_DATA is not set; expected the folder"):
        val_rows()
    monkeypatch.setenv("HARMGUARD_DATA", str(tmp_path))
    with pytest.raises(BenchmarkDataError, match=r"val.jsonl.gz .* unreadable \(FileNotFoundError"):
        val_rows()
