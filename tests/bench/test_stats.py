"""harmguard.bench.stats, against numpy and worked values."""

from __future__ import annotations

import numpy as np
import pytest

from harmguard.bench import stats


@pytest.mark.parametrize("q", [0.0, 0.1, 0.5, 0.9, 0.99, 1.0])
@pytest.mark.parametrize("n", [1, 2, 7, 100])
def test_percentile_is_numpys(n: int, q: float) -> None:
    samples = np.random.default_rng(n).normal(size=n)
    assert stats.percentile(samples.tolist(), q) == pytest.approx(np.quantile(samples, q))


def test_summary_gives_p99_only_where_it_means_something() -> None:
    assert stats.summary([1.0] * 99).p99 is None
    found = stats.summary([float(i) for i in range(1, 102)])
    assert (found.n, found.median, found.p90, found.p99) == (101, 51.0, 91.0, 100.0)
    assert found.spread == pytest.approx(80 / 51)


def test_ratio_is_of_the_fastest_with_the_range_of_the_rounds() -> None:
    found = stats.ratio([[5.0, 8.0], [30.0, 30.0], [9.0]], [[2.0, 2.0], [12.0, 12.0], [3.0]])
    assert (found.fastest, found.low, found.high) == (2.5, 2.5, 3.25)


def test_ratio_needs_the_same_rounds() -> None:
    with pytest.raises(ValueError, match="longer"):
        stats.ratio([[1.0]], [[1.0], [1.0]])


def test_wilson_is_the_published_interval() -> None:
    # Newcombe (1998), table I: 81 of 263, 15 of 148, 0 of 20.
    for count, n, low, high in [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
    ]:
        found = stats.wilson(count, n)
        assert [found.low, found.high] == pytest.approx([low, high], abs=5e-5)


def test_the_share_of_nothing_is_unknown() -> None:
    assert stats.wilson(0, 0) == stats.Share(0, 0, None, 0.0, 1.0)
