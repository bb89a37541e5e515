from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from harmguard.checkpoint import load_student
from harmguard.errors import DataError
from harmguard.rows import Row
from harmguard.training.distil.batches import Collator, encode_rows, row_weights
from harmguard.training.distil.config import Config, Data, Student
from tests.training import tiny

ROWS = [
    Row("a", "hello", None, 1, soft=0.25),
    Row("b", "how do i bake bread with honey", None, 0, weight=3.0),
]


def test_benign_rows_show_any_window_and_harmful_ones_the_first(tmp_path: Path) -> None:
    encoder = load_student(tiny.student(tmp_path / "s", "bert"), 16).encoder
    text = " ".join(tiny.SAFE * 5)
    rows = [Row(str(i), text, None, label) for label in (0, 1) for i in range(20)]
    windows = [tuple(w.ids.tolist()) for w in encode_rows(rows, encoder, 0)]
    assert len(set(windows[:20])) > 1
    assert set(windows[20:]) == {tuple(encoder.encode(text).windows[0].ids.tolist())}


def test_a_batch_is_padded_and_says_which_rows_have_no_soft_label(tmp_path: Path) -> None:
    student = load_student(tiny.student(tmp_path / "s", "bert"), 64)
    windows = encode_rows(ROWS, student.encoder, 0)
    config = Config(Student("s"), Data(["rows"]))
    batch = Collator(ROWS, windows, config, student)([1, 0])
    # The longer one, to the next multiple of 16.
    assert batch["input_ids"].shape == batch["attention_mask"].shape == (2, 16)
    assert batch["attention_mask"].sum(1).tolist() == [len(windows[1].ids), len(windows[0].ids)]
    assert batch["labels"].tolist() == [0, 1]
    assert batch["soft"].isnan().tolist() == [True, False]
    assert batch["soft"][1].item() == 0.25
    assert batch["soft"].dtype == torch.float64
    assert batch["weight"].tolist() == [1.5, 0.5]


def test_weights_have_mean_1() -> None:
    rows = [*ROWS, replace(ROWS[0], tier="B")]
    weights = row_weights(rows, {"A": 1.0, "B": 0.5, "C": 0.1})
    assert sum(weights) == pytest.approx(3.0)
    assert weights[1] / weights[0] == pytest.approx(3.0)
    assert weights[2] / weights[0] == pytest.approx(0.5)


def test_weights_that_cannot_be() -> None:
    with pytest.raises(DataError, match=r"tier 'A' has no weight; data.tier_weights has \['B'\]"):
        row_weights(ROWS, {"B": 1.0})
    with pytest.raises(DataError, match="every row has weight 0"):
        row_weights(ROWS, {"A": 0.0})
