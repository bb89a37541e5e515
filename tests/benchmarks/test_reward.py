"""The script that measures the reward function's throughput."""

from __future__ import annotations

import json

import pytest

from benchmarks.performance.reward import COMMAND


@pytest.mark.parametrize("judged", ["exchange", "completion"])
def test_it_scores_the_groups_and_prints_their_rates(
    capsys: pytest.CaptureFixture[str], judged: str
) -> None:
    assert COMMAND.main(["--calls", "3", "--group", "3", "--judged", judged]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["pairs"], found["calls"], found["judged"]) == (9, 3, judged)
    rate = found["pairs_per_second"]
    assert 0.0 < rate["min"] <= rate["median"] <= rate["max"]
    assert 0 < found["tokens_of_a_pair"]["mean"] <= found["tokens_of_a_pair"]["max"]
    assert found["machine"]["packages"]["onnxruntime"]
    assert found["bundle"]["name"]
