"""benchmarks.harness.data: lengths of the development set's pairs, and its rows."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from benchmarks.harness.data import LENGTHS, pairs_like_val, val_rows
from benchmarks.harness.errors import BenchmarkDataError
from harmguard.bench.text import TextMaker
from harmguard.errors import DataError
from tests.runtime.conftest import build_tokenizer


@pytest.fixture
def maker(tmp_path: Path) -> TextMaker:
    build_tokenizer().save(str(tmp_path / "tokenizer.json"))
    return TextMaker(tmp_path / "tokenizer.json", seed=1)


def words(*texts: str) -> int:
    return sum(len(text.split()) for text in texts)


def test_pairs_like_val_have_its_lengths_and_fit(maker: TextMaker) -> None:
    lengths = json.loads(LENGTHS.read_text(encoding="utf-8"))["pairs"]
    assert len(lengths) == 2000
    pairs = pairs_like_val(maker, 300, room=509)
    assert max(words(*pair) for pair in pairs) == 509
    for (p, r), pair in zip(lengths, pairs, strict=False):
        if p + r <= 509:
            assert (p, r) == (words(pair[0]), words(pair[1]))


def test_more_pairs_than_there_are(maker: TextMaker) -> None:
    with pytest.raises(BenchmarkDataError, match=r"3000 pairs asked for; .* has 2000"):
        pairs_like_val(maker, 3000, room=509)


def test_val_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARMGUARD_DATA", str(tmp_path))
    rows = [
        {"prompt": "p", "response": "", "label": 1, "source": "s", "task": "prompt"},
        {"prompt": "p", "response": "", "label": 0, "source": "s", "task": "response"},
    ]
    with gzip.open(tmp_path / "val.jsonl.gz", "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    found = [(row.pair, row.label, row.source) for row in val_rows()]
    assert found == [(("p", None), 1, "s"), (("p", ""), 0, "s")]


def test_no_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HARMGUARD_DATA", raising=False)
    with pytest.raises(BenchmarkDataError, match="HARMGUARD_DATA is not set; expected the folder"):
        val_rows()
    monkeypatch.setenv("HARMGUARD_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"no data file named val.jsonl.gz"):
        val_rows()
