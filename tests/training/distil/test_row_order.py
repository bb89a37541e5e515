from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmguard.rows import Row
from harmguard.training.distil.row_order import plan


def _rows(*counts: tuple[str | None, int, int]) -> list[Row]:
    return [
        Row(f"{response}-{label}-{i}", "p", response, label)
        for response, label, count in counts
        for i in range(count)
    ]


ROWS = _rows((None, 1, 20), (None, 0, 60), ("r", 1, 30), ("r", 0, 10))
LENGTHS = [(i * 37) % 100 + 3 for i in range(len(ROWS))]


def test_each_kind_is_balanced_in_every_epoch_and_the_larger_side_moves_on() -> None:
    batches = plan(ROWS, LENGTHS, epochs=3, batch_rows=4, balance=True, seed=1)
    assert all(len(batch) == 4 for batch in batches)
    per_epoch = 2 * 20 + 2 * 10
    assert len(batches) * 4 == 3 * per_epoch
    count = Counter((ROWS[i].kind, ROWS[i].label) for batch in batches for i in batch)
    assert set(count.values()) == {60, 30}
    used = Counter(i for batch in batches for i in batch if ROWS[i].kind == "prompt")
    benign = [used[i] for i, row in enumerate(ROWS) if row.kind == "prompt" and row.label == 0]
    assert benign == [1] * 60


def test_without_balance_every_row_comes_once_an_epoch() -> None:
    batches = plan(ROWS, LENGTHS, epochs=2, batch_rows=4, balance=False, seed=1)
    assert set(Counter(i for batch in batches for i in batch).values()) == {2}


def test_drawn_epochs_have_all_the_rows_and_both_labels_as_likely_in_any_batch() -> None:
    rows = _rows((None, 1, 30), (None, 0, 500), ("r", 1, 70), ("r", 0, 400))
    lengths = [(i * 37) % 100 for i in range(len(rows))]
    settings: dict[str, Any] = {"epochs": 3, "batch_rows": 64, "balance": "drawn"}
    batches = plan(rows, lengths, **settings, seed=1)
    assert len(batches) == 3 * (1000 // 64)
    assert all(len(batch) == 64 for batch in batches)
    used = Counter(i for batch in batches for i in batch)
    harmful = sum(used[i] for i, row in enumerate(rows) if row.label == 1)
    assert harmful / used.total() == pytest.approx(0.5, abs=0.03)
    prompts = sum(used[i] for i, row in enumerate(rows) if row.label == 1 and row.kind == "prompt")
    assert prompts / harmful == pytest.approx(0.3, abs=0.04)  # each kind by its rows
    assert max(used.values()) > 15  # with replacement: 100 harmful rows fill half of 3 epochs
    assert all(0.25 < sum(rows[i].label or 0 for i in b) / 64 < 0.75 for b in batches)
    assert all([lengths[i] for i in b] == sorted(lengths[i] for i in b) for b in batches)
    assert plan(rows, lengths, **settings, seed=1) == batches
    assert plan(rows, lengths, **settings, seed=2) != batches


def test_drawn_rows_of_one_label_and_too_few_of_them() -> None:
    rows = _rows((None, 1, 8))
    assert len(plan(rows, [5] * 8, epochs=2, batch_rows=4, balance="drawn", seed=0)) == 4
    assert [
        len(b) for b in plan(rows, [5] * 8, epochs=2, batch_rows=9, balance="drawn", seed=0)
    ] == [
        9,
        9,
    ]


def test_the_seed_alone_fixes_the_order() -> None:
    a, b, c = (plan(ROWS, LENGTHS, epochs=2, batch_rows=8, balance=True, seed=s) for s in (1, 1, 2))
    assert a == b
    assert a != c


def test_batches_hold_rows_of_like_length() -> None:
    batches = plan(ROWS, LENGTHS, epochs=1, batch_rows=8, balance=False, seed=0)
    spread = [max(LENGTHS[i] for i in b) - min(LENGTHS[i] for i in b) for b in batches]
    assert sum(spread) / len(spread) < 15


def test_one_class_alone_is_taken_whole() -> None:
    rows = _rows((None, 1, 8))
    assert len(plan(rows, [5] * 8, epochs=1, batch_rows=8, balance=True, seed=0)) == 1


def test_rows_are_repeated_to_fill_a_batch() -> None:
    batches = plan(_rows((None, 1, 4)), [5] * 4, epochs=2, batch_rows=10, balance=True, seed=0)
    assert len(batches) == 2
    for batch in batches:
        assert sorted(Counter(batch).values()) == [2, 2, 3, 3]


@given(
    st.lists(st.tuples(st.booleans(), st.booleans()), min_size=8, max_size=40),
    st.integers(1, 4),
    st.booleans(),
)
def test_every_index_is_valid_and_every_batch_full(
    shape: list[tuple[bool, bool]], epochs: int, balance: bool
) -> None:
    rows = [Row(str(i), "p", "r" if e else None, int(y)) for i, (e, y) in enumerate(shape)]
    batches = plan(rows, [1] * len(rows), epochs=epochs, batch_rows=4, balance=balance, seed=3)
    assert len(batches) >= epochs
    assert all(len(b) == 4 and all(0 <= i < len(rows) for i in b) for b in batches)
