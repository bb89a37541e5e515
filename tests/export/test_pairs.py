from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from harmguard_export.pairs import GOLDEN_ROWS, choose_golden, read_pairs

from harmguard.core.encode import Encoded, Window
from harmguard.errors import DataError, ExportError


def encoded(tokens: int, windows: int = 1) -> Encoded:
    ids = np.zeros(tokens, np.int64)
    return Encoded((Window(ids, ids),) * windows, tokens, tokens)


def test_the_packages_own_pairs() -> None:
    texts = read_pairs(None)
    assert len(texts.pairs) >= GOLDEN_ROWS
    assert texts.labels is None
    assert {response is None for _, response in texts.pairs} == {True, False}


def test_labels_need_every_row(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"prompt": "a", "label": 1}\n\n{"prompt": "b", "response": "", "label": 0}\n')
    texts = read_pairs(path)
    assert texts.pairs == [("a", None), ("b", "")]
    assert texts.labels is not None
    assert texts.labels.tolist() == [1, 0]
    packed = tmp_path / "pairs.jsonl.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert read_pairs(packed).pairs == texts.pairs
    path.write_text('{"prompt": "a", "label": 1}\n{"prompt": "b"}\n')
    assert read_pairs(path).labels is None


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ('{"prompt": "a"}\nnot json\n', "line 2: not JSON"),
        ('{"prompt": ""}\n', "line 1: prompt is missing"),
        ('{"prompt": "a", "response": 3}\n', "line 1: response is int"),
        ("[1]\n", "a JSON array"),
        ("\n", "holds no rows"),
    ],
)
def test_bad_pairs(tmp_path: Path, content: str, match: str) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(content)
    with pytest.raises(DataError, match=match):
        read_pairs(path)


def test_unreadable_pairs(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no data file named none"):
        read_pairs(tmp_path / "none.jsonl")
    (tmp_path / "packed.jsonl").write_bytes(b"\x1f\x8b\xff")
    with pytest.raises(DataError, match="gzip under another name"):
        read_pairs(tmp_path / "packed.jsonl")


def test_golden_pairs_are_near_the_threshold_and_of_all_lengths() -> None:
    texts = [encoded(i + 1) for i in range(100)]
    scores = np.full(100, 0.01)
    scores[10:20] = 0.6
    chosen, left_out = choose_golden(texts, scores, 0.5)
    assert len(chosen) == GOLDEN_ROWS
    assert set(range(10, 20)) <= set(chosen)
    assert {0, 99} <= set(chosen)
    assert left_out == []


def test_golden_pairs_of_many_windows_are_left_out() -> None:
    texts = [encoded(4), encoded(400, 9), encoded(100, 2)]
    assert choose_golden(texts, np.full(3, 0.9), 0.5) == ([0, 2], [1])
    with pytest.raises(ExportError, match="no golden pair"):
        choose_golden([encoded(400, 9)], np.array([0.9]), 0.5)
