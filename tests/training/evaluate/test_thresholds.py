from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harmguard.errors import ConfigError, DataError
from harmguard.training.evaluate.thresholds import (
    HIGHEST,
    LOWEST,
    DefaultRule,
    default_threshold,
    is_degenerate,
    operating_points,
    threshold_at_fpr,
)


@st.composite
def many(draw: st.DrawFn, low: int = 200, high: int = 400) -> np.ndarray:
    """Scores in [0, 1], some of them tied at values that hypothesis picks."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    ties = draw(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=6))
    n = draw(st.integers(low, high))
    free = rng.beta(rng.uniform(0.2, 3), rng.uniform(0.2, 3), n)
    return np.where(rng.random(n) < draw(st.floats(0, 1)), rng.choice(ties, n), free)


@settings(deadline=None)
@given(many())
def test_rates_hold_on_the_rows_that_chose_them(safe: np.ndarray) -> None:
    for limit in (0.01, 0.05):
        found = threshold_at_fpr(safe, limit)
        if found is None:
            assert (safe >= HIGHEST - 1e-6).mean() > limit
        else:
            assert (safe >= found).mean() <= limit
            assert LOWEST <= found <= HIGHEST
            assert found == round(found, 4)
            # Lower by one step, and it would not hold.
            assert found == LOWEST or (safe >= found - 1e-4 - 1e-6).mean() > limit


@settings(deadline=None)
@given(many())
def test_a_stricter_rate_has_the_higher_threshold(safe: np.ndarray) -> None:
    one, five = threshold_at_fpr(safe, 0.01), threshold_at_fpr(safe, 0.05)
    if one is not None:
        assert five is not None
        assert one >= five


@settings(deadline=None)
@given(st.data())
def test_the_default_obeys_its_bounds(data: st.DataObject) -> None:
    p = data.draw(many(120, 200))
    y = np.arange(p.size) % 2
    y[-60:] = 0
    sources = ["mixed"] * (p.size - 60) + ["calm"] * 60
    rule = DefaultRule(
        max_fpr=data.draw(st.sampled_from([0.02, 0.1, 0.3])),
        max_safe_only_fpr=data.draw(st.sampled_from([0.02, 0.1, 0.3])),
    )
    found = default_threshold(y, p, sources, rule)
    if found is not None:
        assert (p[y == 0] >= found).mean() <= rule.max_fpr
        assert (p[-60:] >= found).mean() <= rule.max_safe_only_fpr


def test_the_default_has_the_highest_f1_that_is_allowed() -> None:
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], [900, 300])
    p = np.clip(0.4 + 0.2 * y + 0.15 * rng.normal(size=y.size), 0, 1)
    free = default_threshold(y, p, ["mixed"] * y.size, DefaultRule(1.0, 1.0))

    def f1(t: float) -> float:
        recall, fpr = (p[y == 1] >= t).mean(), (p[y == 0] >= t).mean()
        return float(2 * recall / (1 + recall + fpr))

    assert free is not None
    assert f1(free) == pytest.approx(max(f1(t) for t in np.linspace(0.001, 0.999, 2000)), abs=1e-3)
    bound = default_threshold(y, p, ["mixed"] * y.size, DefaultRule(0.05, 1.0))
    assert bound is not None
    assert bound > free
    assert (p[y == 0] >= bound).mean() == pytest.approx(0.05, abs=0.002)


def test_a_frightening_safe_source_raises_the_default() -> None:
    rng = np.random.default_rng(0)
    y = np.array([0, 1] * 300 + [0] * 60)
    p = np.r_[np.clip(0.2 + 0.6 * y[:600] + 0.1 * rng.normal(size=600), 0, 1), np.full(60, 0.7)]
    sources = ["mixed"] * 600 + ["calm"] * 60
    rule = DefaultRule(max_fpr=0.5, max_safe_only_fpr=0.10)
    with_source = default_threshold(y, p, sources, rule)
    without = default_threshold(y, p, ["mixed"] * 660, rule)
    assert with_source is not None
    assert without is not None
    assert without < 0.7 < with_source


def test_a_safe_only_source_of_few_rows_decides_nothing() -> None:
    y = np.array([0, 1] * 100 + [0] * 49)
    p = np.array([0.1, 0.8] * 100 + [0.95] * 49)
    found = default_threshold(y, p, ["mixed"] * 200 + ["few"] * 49, DefaultRule(0.5, 0.1))
    assert found == 0.8


def test_too_few_safe_rows_have_no_rate() -> None:
    assert threshold_at_fpr(np.full(199, 0.5), 0.01) is None
    assert threshold_at_fpr(np.full(200, 0.5), 0.01) == 0.5001
    assert threshold_at_fpr(np.full(39, 0.5), 0.05) is None


def test_a_saturated_guard_has_no_rate() -> None:
    y, p = np.repeat([0, 1], 400), np.r_[np.repeat([0.1, 1.0], [380, 20]), np.ones(400)]
    points, notes = operating_points(y, p, ["s"] * 800, "prompt", DefaultRule())
    assert sorted(points) == ["default", "fpr_5"]
    assert notes == ["prompt: fpr_1 not chosen: a threshold of 0.9995 still flags more"]


def test_no_threshold_for_the_rule_is_an_error() -> None:
    y, p = np.repeat([0, 1], 40), np.ones(80)
    with pytest.raises(DataError, match=r"prompt: no threshold up to 0\.9995 satisfies the rule"):
        operating_points(y, p, ["s"] * 80, "prompt", DefaultRule())


@pytest.mark.parametrize("text", ["", "-----", "a", "aaaa bb", "👍", "42", "\0\0\0", "No."])
def test_degenerate_texts(text: str) -> None:
    assert is_degenerate(text, None)
    assert is_degenerate("how are you", text)


@pytest.mark.parametrize("text", ["Yes.", "how", "你好吗", "да, конечно", "123"])
def test_short_texts_that_count(text: str) -> None:
    assert not is_degenerate(text, None)


@pytest.mark.parametrize("share", [0.0, -0.1, 1.1, float("nan")])
def test_a_rule_takes_shares(share: float) -> None:
    with pytest.raises(ConfigError, match="of safe rows flagged; expected above 0, at most 1"):
        DefaultRule(max_fpr=share)
    with pytest.raises(ConfigError, match="of safe rows flagged; expected above 0, at most 1"):
        DefaultRule(max_safe_only_fpr=share)
