"""benchmarks.runtimes.sameness: nothing is timed that does not compute the same."""

from __future__ import annotations

import math

import pytest

from benchmarks.harness.errors import OutputsDifferError
from benchmarks.runtimes import sameness


def test_near_scores_pass_and_their_distance_is_kept() -> None:
    found = sameness.check_scores("optimum", [0.5, 0.75], [0.5, 0.7], "int8")
    assert list(found.values()) == pytest.approx([0.025, 0.05])


@pytest.mark.parametrize(
    ("scores", "recipe"), [([0.9] + [0.5] * 9, "int8"), ([0.6] * 10, "int8"), ([0.51] * 10, "fp32")]
)
def test_far_scores_stop_the_benchmark(scores: list[float], recipe: str) -> None:
    with pytest.raises(OutputsDifferError, match=r"optimum: scores are .* likely the bundle was"):
        sameness.check_scores("optimum", scores, [0.5] * 10, recipe)


def test_two_ways_to_run_one_model_must_agree() -> None:
    assert sameness.check_same("bare", [0.5], [0.501])["max"] == pytest.approx(0.001)
    with pytest.raises(OutputsDifferError, match=r"bare: scores differ by up to 0\.0100"):
        sameness.check_same("bare", [0.5], [0.51])


def test_scores_are_moved_between_temperatures() -> None:
    assert sameness.moved([0.2, 1.0], 1.5, 1.5) == [0.2, 1.0]
    margin = math.log(0.3 / 0.7) * 1.1
    assert sameness.moved([0.3], 1.1, 2.0) == [pytest.approx(1 / (1 + math.exp(-margin / 2)))]
    assert sameness.moved([0.0, 1.0], 1.1, 1.0) == pytest.approx([0, 1], abs=1e-8)


def test_different_ids_stop_the_benchmark() -> None:
    same = [[[1, 2], [0, 0]]]
    sameness.check_encoded("torch", same, same)
    with pytest.raises(OutputsDifferError, match=r"torch: 1 of 2 texts .* first at index 1"):
        sameness.check_encoded("torch", [*same, [[1], [0]]], [*same, [[2], [0]]])


def test_distance_of_logits_shows_what_scores_near_one_hide() -> None:
    assert sameness.logit_distance([0.5, 1.0], [0.5, 1.0]) == 0
    assert sameness.logit_distance([1 - 1e-12], [1 - 2e-12]) == pytest.approx(math.log(2), abs=1e-3)
    assert sameness.logit_distance([0.0], [1e-9]) == pytest.approx(15.3, abs=0.1)


def test_a_score_near_one_moves_to_another_temperature_and_keeps_its_logit() -> None:
    own, wanted = 1 / (1 + math.exp(-30.0)), 1 / (1 + math.exp(-25.0))
    assert sameness.logit_distance(sameness.moved([own], 1.0, 1.2), [wanted]) < 0.01
