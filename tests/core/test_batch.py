"""The one padding: windows -> padded batches -> logits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmguard.core.batch import (
    Batch,
    Logits,
    batches,
    no_padding,
    pad,
    padded_length,
    padding_within,
    window_logits,
)
from harmguard.core.encode import Window


def window(*ids: int) -> Window:
    """A window whose types are the ids' last bits."""
    return Window(np.array(ids, np.int64), np.array(ids, np.int64) % 2)


@given(st.integers(1, 600), st.integers(600, 2000))
def test_padded_length_fits_and_is_its_own_padded_length(length: int, most: int) -> None:
    padded = padded_length(length, most)
    assert length <= padded <= min(length + 31, most)
    assert padded_length(padded, most) == padded


def test_padded_length_never_exceeds_the_models_positions() -> None:
    assert padded_length(99, 100) == 100
    with pytest.raises(ValueError, match="a window of 101 tokens; expected at most 100"):
        padded_length(101, 100)


@given(st.lists(st.integers(1, 512), max_size=200), st.integers(64, 4096))
def test_batches_are_a_partition_by_padded_length(lengths: list[int], bound: int) -> None:
    rule = padding_within(512)
    found = list(batches(lengths, bound, rule))
    assert sorted(i for members in found for i in members) == list(range(len(lengths)))
    sizes: list[int] = []
    for members in found:
        padded = {rule(lengths[i]) for i in members}
        assert len(padded) == 1
        sizes += padded
        assert len(members) == 1 or len(members) * padded.pop() <= bound
    assert sizes == sorted(sizes, reverse=True), "the longest come first"


def test_without_padding_windows_of_one_length_stand_together() -> None:
    assert list(batches([3, 4, 3, 3], 6, no_padding)) == [[1], [0, 2], [3]]


@pytest.mark.parametrize(("median", "spread"), [(20, 0.8), (50, 1.0), (110, 0.9), (300, 0.7)])
def test_padding_waste_stays_under_15_percent(median: float, spread: float) -> None:
    drawn = np.random.default_rng(0).lognormal(np.log(median), spread, 5000)
    lengths = np.clip(drawn, 4, 512).astype(int)
    padded = np.array([padded_length(int(n), 512) for n in lengths])
    assert 1 - lengths.sum() / padded.sum() < 0.15
    assert len(np.unique(padded)) <= 24


def test_pad_fills_ids_mask_and_types() -> None:
    batch = pad([window(5, 6), window(7)], 9, padding_within(3))
    assert batch.ids.tolist() == [[5, 6, 9], [7, 9, 9]]
    assert batch.mask.tolist() == [[1, 1, 0], [1, 0, 0]]
    assert batch.types.tolist() == [[1, 0, 0], [1, 0, 0]]
    assert {array.dtype for array in batch} == {np.dtype(np.int64)}


@given(st.lists(st.integers(1, 40), min_size=1, max_size=30), st.integers(1, 200))
def test_logits_come_back_in_the_order_of_the_windows(lengths: list[int], bound: int) -> None:
    windows = [window(*range(n)) for n in lengths]
    seen: list[bool] = []
    done: list[int] = []

    def run(batch: Batch, last: bool) -> Logits:
        seen.append(last)
        counts = batch.mask.sum(1)
        return np.stack([counts, -counts], 1).astype(np.float32)

    logits = window_logits(
        windows,
        run,
        pad_id=0,
        padding=padding_within(64),
        batch_tokens=bound,
        progress=done.append,
    )
    assert logits[:, 0].tolist() == lengths
    assert seen == [False] * (len(seen) - 1) + [True]
    assert sum(done) == len(lengths)
