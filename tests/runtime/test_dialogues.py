"""Fifty harmless dialogues that talk about harm: what docs/streaming.md says of their alarms."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from harmguard import HarmGuard

ROOT = Path(__file__).resolve().parents[2]
LINES = (Path(__file__).parent / "dialogues.jsonl").read_text(encoding="utf-8").splitlines()
DIALOGUES = [json.loads(line)["turns"] for line in LINES]


def test_there_are_fifty_of_two_exchanges() -> None:
    assert len(DIALOGUES) == 50
    assert all(len(turns) == 4 and all(turns) for turns in DIALOGUES)
    assert len({turns[0] for turns in DIALOGUES}) == 50


@pytest.mark.parametrize("point", ["default", "fpr_5", "fpr_1"])
def test_false_alarms_are_those_of_the_page(point: str) -> None:
    """Within two, because int8 arithmetic depends a little on the processor."""
    page = (ROOT / "docs" / "streaming.md").read_text(encoding="utf-8")
    cell = r" +(\d+) of 50 [^|]*\|"
    row = re.search(rf"^\| last user turn +\| +{point} \|{cell}{cell}", page, re.M)
    assert row is not None
    with HarmGuard(threshold=point) as guard:
        prompts = guard.check_many([(turns[2], None) for turns in DIALOGUES])
        exchanges = guard.check_many([(turns[2], turns[3]) for turns in DIALOGUES])
    for verdicts, shown in ((prompts, row[1]), (exchanges, row[2])):
        assert abs(sum(verdict.harmful for verdict in verdicts) - int(shown)) <= 2
