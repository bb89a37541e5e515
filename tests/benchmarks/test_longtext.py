"""benchmarks.quality.longtext, on a guard that flags one word."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pytest

from benchmarks.harness.errors import BenchmarkDataError
from benchmarks.quality import longtext
from harmguard import HarmGuard
from harmguard.rows import Row
from tests.benchmarks.conftest import row_of

HAY = [row_of("how to make bread", "the kind answer", 0, "lima")] * 600
HARM = [row_of("please danger", None, 1, "made"), row_of("a bad thing", None, 1, "made")] * 20


def count(text: str) -> int:
    return len(text.split())


def test_only_needles_that_are_flagged_alone_are_taken(needle: HarmGuard) -> None:
    assert longtext.flagged_alone(needle, HARM, 12) == ["please danger"] * 12
    with pytest.raises(BenchmarkDataError, match="flags 20 of 40 harmful prompts; expected at lea"):
        longtext.flagged_alone(needle, HARM, 30)


def test_hay_is_benign_everyday_text_of_the_length_asked_for() -> None:
    odd = [
        row_of("danger", None, 1, "lima"),
        row_of("danger", None, 0, "made to look harmful"),
    ] * 50
    hay = longtext.haystack([*odd, *HAY], count, seed=1)
    assert set(hay) == {"how to make bread", "the kind answer"}
    assert longtext.HAY_TOKENS <= count(" ".join(hay)) < longtext.HAY_TOKENS + 7
    with pytest.raises(BenchmarkDataError, match="700 tokens of benign text; expected 3000"):
        longtext.haystack(HAY[:100], count, seed=1)


@pytest.mark.parametrize(("share", "place"), [(0.0, 0), (0.5, 2), (1.0, 4)])
def test_place_of_the_needle(share: float, place: int) -> None:
    parts = longtext.hidden("needle", ["a", "b", "c", "d"], share).split("\n\n")
    assert parts.index("needle") == place
    assert len(parts) == 5


def test_a_needle_in_hay_that_is_flagged_itself_is_not_found(needle: HarmGuard) -> None:
    hays = [["how to", "make bread"] * 40, ["a kind", "danger"] * 40]
    found = longtext.needle_shares(needle, ["danger"] * 4, hays)
    assert found["hay_flagged"]["share"] == 0.5
    for place in ("start", "middle", "end"):
        assert found["places"][place]["count"] == 2
        assert found["places"][place]["flagged_whatever_the_hay"] == 4
    assert (found["all"]["count"], found["all"]["n"]) == (6, 12)


def test_errors_by_length(needle: HarmGuard) -> None:
    def rows(tokens: int, label: int, word: str, times: int) -> list[Row]:
        return [row_of(word, " ".join(["bread"] * (tokens - 1)), label, "made")] * times

    made = [
        *rows(200, 0, "danger", 1),
        *rows(200, 0, "bread", 3),
        *rows(600, 1, "bread", 1),
        *rows(600, 1, "danger", 1),
        *rows(50, 1, "bread", 9),
    ]
    found = longtext.pair_shares(needle, made, len(made))
    assert found["threshold"] == pytest.approx(0.6)
    assert found["middle"]["benign_flagged"]["share"] == 0.25
    assert found["long"]["harmful_missed"]["share"] == 0.5
    assert found["long"]["benign_flagged"]["n"] == 0
    assert found["worse_by"] == {"benign_flagged": None, "harmful_missed": None}


def test_a_quick_run(
    needle_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with gzip.open(tmp_path / "val.jsonl.gz", "wt", encoding="utf-8") as file:
        for row in (*HAY, *HARM):
            task = "prompt" if row.response is None else "response"
            value = {"prompt": row.prompt, "response": row.response or "", "label": row.label}
            file.write(json.dumps({**value, "source": row.source, "task": task}) + "\n")
    monkeypatch.setenv("HARMGUARD_DATA", str(tmp_path))
    out = tmp_path / "longtext.json"
    assert longtext.COMMAND.main([str(needle_bundle), "--quick", "--out", str(out)]) == 0
    text = out.read_text(encoding="utf-8")
    assert json.loads(text)["needles"]["all"]["share"] == 1.0
    assert "danger" not in text
    assert re.search(r"\| all +\| 18 of 18 \|", capsys.readouterr().out)
