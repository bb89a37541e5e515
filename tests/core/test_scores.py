"""The one formula: logits -> scores."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmguard.core.scores import logit, margins, sigmoid, text_scores, window_scores

numbers = st.floats(-1e6, 1e6)


@given(numbers)
def test_sigmoid_is_the_formula_without_its_overflow(x: float) -> None:
    found = float(sigmoid(x))
    assert 0 <= found <= 1
    assert found == pytest.approx(1 / (1 + math.exp(min(-x, 700))), rel=1e-12, abs=1e-300)
    assert float(sigmoid(-x)) == pytest.approx(1 - found, abs=1e-15)


@given(st.floats(-16, 16))
def test_logit_is_the_inverse(x: float) -> None:
    assert float(logit(sigmoid(x))) == pytest.approx(x, abs=1e-8)


@pytest.mark.parametrize(("score", "largest"), [(0.0, -16.6), (1.0, 16.6)])
def test_logit_of_a_rounded_score_is_finite(score: float, largest: float) -> None:
    assert float(logit(score)) == pytest.approx(largest, abs=0.1)


@given(numbers, numbers, st.floats(0.01, 100))
def test_a_score_is_softmax_over_the_temperature(safe: float, harmful: float, t: float) -> None:
    scaled = np.array([safe, harmful]) / t
    powers = np.exp(scaled - scaled.max())
    assert window_scores([[safe, harmful]], t)[0] == pytest.approx(powers[1] / powers.sum())


def test_margins_do_not_lose_digits_of_float32() -> None:
    assert margins(np.array([[1e8, 1e8 + 8]], np.float32))[0] == 8


def test_a_text_has_the_highest_score_of_its_windows() -> None:
    logits = np.array([[0, 1], [0, 3], [0, -2], [0, -1]], np.float32)
    found = text_scores(logits, [2, 1, 1], 2.0)
    assert found == pytest.approx([1 / (1 + math.exp(-z / 2)) for z in (3, -2, -1)])
    assert text_scores(np.empty((0, 2), np.float32), []).shape == (0,)
