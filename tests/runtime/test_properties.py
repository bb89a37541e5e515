from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from harmguard import HarmGuard
from harmguard.errors import EmptyPromptError

TEXTS = st.one_of(
    st.text(min_size=1, max_size=300),
    st.lists(
        st.sampled_from(["how", "to", "bread", "[SEP]", "\0", "é"]), min_size=1, max_size=200
    ).map(" ".join),
    st.builds(
        lambda piece, times: piece * times, st.text(min_size=1, max_size=3), st.integers(1, 400)
    ),
)
PAIRS = st.tuples(TEXTS, st.none() | st.just("") | TEXTS)
SLOWLY = settings(
    deadline=None,
    max_examples=20,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def has_score(guard: HarmGuard, pair: tuple[str, str | None]) -> bool:
    """A prompt of spaces, or of characters that are not seen, has none."""
    try:
        guard.score(*pair)
    except EmptyPromptError:
        return False
    return True


@SLOWLY
@given(pair=PAIRS)
def test_a_score_is_in_the_unit_interval_and_repeats(
    any_guard: HarmGuard, pair: tuple[str, str | None]
) -> None:
    assume(has_score(any_guard, pair))
    score = any_guard.score(*pair)
    assert 0 <= score <= 1
    assert any_guard.score(*pair) == score
    assert any_guard.check(*pair).score == score


@SLOWLY
@given(pairs=st.lists(PAIRS, max_size=6), data=st.data())
def test_many_are_what_one_by_one_are_in_any_order(
    any_guard: HarmGuard, pairs: list[tuple[str, str | None]], data: st.DataObject
) -> None:
    pairs = [pair for pair in pairs if has_score(any_guard, pair)]
    single = np.array([any_guard.score(*pair) for pair in pairs])
    order = data.draw(st.permutations(range(len(pairs))))
    shuffled = any_guard.score_many([pairs[i] for i in order])
    assert np.abs(shuffled - single[order]).max(initial=0) <= 0.002
    doubled = any_guard.score_many([*pairs, *pairs])
    assert np.abs(doubled - np.tile(single, 2)).max(initial=0) <= 0.002
