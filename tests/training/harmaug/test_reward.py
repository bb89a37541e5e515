"""The guard as a reward: TRL's call, both kinds of policy, inputs of other shapes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harmguard import HarmGuard
from harmguard.errors import DataError
from harmguard.training.harmaug.reward import GuardReward


@pytest.fixture(scope="module")
def guard(word_bundle: Path) -> Iterator[HarmGuard]:
    with HarmGuard(word_bundle) as opened:
        yield opened


def test_the_rewards_are_the_guards_scores(guard: HarmGuard) -> None:
    reward = GuardReward(guard)
    prompts, completions = ["word41", "word41"], ["word70", "word10"]
    # As GRPOTrainer calls it: by keyword, with columns of the data set and more.
    found = reward(
        prompts=prompts, completions=completions, completion_ids=[[1], [2]], source=["a", "b"]
    )
    pairs = list(zip(prompts, completions, strict=True))
    assert found == [float(score) for score in guard.score_many(pairs)]
    assert found[0] > 0.8 > 0.2 > found[1]
    assert all(type(value) is float for value in found)
    assert reward.__name__ == "harm_of_exchange"


def test_conversations(guard: HarmGuard) -> None:
    prompts = [
        [
            {"role": "system", "content": "word05"},
            {"role": "user", "content": "word10"},
            {"role": "assistant", "content": "word20"},
            {"role": "user", "content": "word41"},
        ]
    ]
    completions = [[{"role": "assistant", "content": "word70"}]]
    assert GuardReward(guard)(prompts, completions) == GuardReward(guard)(["word41"], ["word70"])


def test_a_policy_that_writes_attacks_is_judged_by_them_alone(guard: HarmGuard) -> None:
    reward = GuardReward(guard, "completion")
    found = reward(["word10", "word10", "word10"], ["word70", "", "word10"])
    assert found[0] == guard.score("word70")
    assert found[1] == 0.0
    assert found[2] == guard.score("word10")
    assert reward(["word10"], [""]) == [0.0]


def test_throughput_counts_what_was_scored(guard: HarmGuard) -> None:
    reward = GuardReward(guard)
    assert reward.pairs_per_second == 0.0
    for _ in range(3):
        reward(["word41"] * 4, ["word70"] * 4)
    assert reward.pairs == 12
    assert reward.pairs_per_second == pytest.approx(12 / reward.seconds)


@pytest.mark.parametrize(
    ("prompts", "completions", "match"),
    [
        (["a"], ["b", "c"], "1 prompts and 2 completions"),
        ([5], ["b"], "sample 0 is a int without a text of the user"),
        (
            ["a"],
            [[{"role": "user", "content": "b"}]],
            "a list without a text of the assistant",
        ),
        (["a"], [[{"role": "assistant", "content": None}]], "expected a string, or turns"),
    ],
)
def test_other_shapes(guard: HarmGuard, prompts: Any, completions: Any, match: str) -> None:
    with pytest.raises(DataError, match=match):
        GuardReward(guard)(prompts, completions)
