"""The script that measures the reward function's throughput."""

from __future__ import annotations

import json

import pytest

from benchmarks.reward import main


def test_it_scores_the_groups_and_prints_a_rate(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--calls", "2", "--group", "3"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["pairs"] == 6
    assert found["pairs_per_second"] > 0.0
