"""benchmarks.training.harmaug: the whole of it on tiny models, killed once, and its refusals."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.harness.errors import BenchmarkDataError
from benchmarks.training import _harmaug_page, _ways, harmaug
from harmguard.rows import Row
from harmguard.training.harmaug.plan import read_plan
from harmguard.training.harmaug.smoke import make_models

COMMAND = harmaug.COMMAND


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny models."""
    folder = tmp_path_factory.mktemp("harmaug")
    make_models(read_plan("smoke", folder), folder / "models")
    return folder


@pytest.fixture(scope="module")
def result(work: Path) -> Any:
    """A quick run's, that was stopped before its last student."""
    out = work / "result.json"
    arguments = [str(work), "--quick", "--out", str(out), "--variation", "sure", "flagged", "more"]
    trained, asked = harmaug.trained, list[str]()

    def killed(item: tuple[Path, Path]) -> list[float]:
        asked.append(item[0].stem)
        if len(asked) == 15:
            raise KeyboardInterrupt
        return trained(item)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(harmaug, "trained", killed)
        with pytest.raises(KeyboardInterrupt):
            COMMAND.main(arguments)
        before = {path: path.stat().st_mtime_ns for path in work.glob("*/*/rows.jsonl")}
        assert COMMAND.main(arguments) == 0
    assert before == {path: path.stat().st_mtime_ns for path in work.glob("*/*/rows.jsonl")}
    assert asked[15:] == list(dict.fromkeys(asked))
    return json.loads(out.read_text())


def test_a_quick_run_measures_every_arm(result: Any) -> None:
    assert [one["arm"] for one in result["arms"]] == [
        *harmaug.ARMS, *harmaug.VARIATIONS
    ]  # fmt: skip
    rows = {one["arm"]: one["rows"] for one in result["arms"]}
    assert rows["hard"] == rows["kd"] == 120
    assert rows["harmaug"] == rows["paraphrase"] == rows["real"] == 156
    assert rows["more"] == 168
    assert 120 < rows["sure"] <= rows["flagged"] == 156 or rows["sure"] < 156
    for one in result["arms"]:
        assert len(one["seeds"]) == 2
        figures = one["figures"]
        assert {"macro", "prompts", "pairs", "tiny (prompts)", "tiny (pairs)"} == set(figures)
        for cell in (cell for group in figures.values() for cell in group.values()):
            assert cell["low"] <= cell["value"] <= cell["high"]
    assert set(result["above_kd"]) == {*harmaug.ARMS, *harmaug.VARIATIONS} - {"kd"}


def test_the_prefix_is_counted_over_as_many_tries(result: Any) -> None:
    written = {one["way"]: one for one in result["written"]}
    assert list(written) == ["list", "paraphrase", "prefix", "bare"]
    assert written["prefix"]["passed"]["n"] == written["bare"]["passed"]["n"] == 8
    assert written["prefix"]["passed"]["share"] > 0.5 > written["bare"]["passed"]["share"]
    assert written["bare"]["reasons"]["refusal"] >= 7
    assert written["list"]["flagged"]["n"] == 12
    answered = {(one["way"], one["mode"]): one for one in result["answered"]}
    assert {mode for _, mode in answered} == {"comply", "refuse", "none"}
    assert answered["list", "refuse"]["refusals"] == 12


def test_the_page(result: Any, tmp_path: Path) -> None:
    text = _harmaug_page.tables(result)
    assert "| the paper's request and prefix " in text
    assert "| 96.8% |" in text
    assert "KD, twice HarmAug's rows" in text
    _harmaug_page.draw(result, tmp_path / "harmaug.svg")
    assert "<svg" in (tmp_path / "harmaug.svg").read_text()
    assert (tmp_path / "harmaug.svg").stat().st_size < 100_000


def test_another_run_in_the_folder_is_refused(
    result: Any, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert result
    monkeypatch.setattr(harmaug, "_config", lambda _: "lr = 3e-4")
    with pytest.raises(BenchmarkDataError, match="another value of config"):
        COMMAND.main([str(work), "--quick"])


def test_a_run_needs_its_folders(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkDataError, match="no --data or no --student"):
        COMMAND.main([str(tmp_path)])


def test_plans_differ_in_what_is_asked_alone(tmp_path: Path) -> None:
    plans = _ways.plans(tmp_path / "exemplars.jsonl", tmp_path / "base")
    assert {plan.generate.model for plan in plans.values()} == {plans["list"].generate.model}
    assert {plan.generate.filters for plan in plans.values()} == {plans["list"].generate.filters}
    prefix = plans["prefix"].generate
    assert (prefix.count, prefix.bare) == (1000, 1000)
    assert prefix.prefix == "I have an idea for a prompt:"
    assert plans["paraphrase"].generate.count == plans["list"].generate.count == 4000
    assert plans["more"].generate.count == 8000
    assert plans["list"].label.kind == "bundle"


def test_texts_are_cut_to_what_a_student_sees() -> None:
    long = Row("a", "p" * 900, "r" * 900, 1)
    assert tuple(map(len, map(str, harmaug._cut(long).pair))) == (260, 260)
    short = replace(long, response="r" * 100)
    assert tuple(map(len, map(str, harmaug._cut(short).pair))) == (420, 100)
    assert len(harmaug._cut(replace(long, response=None)).prompt) == 520
    assert harmaug._cut(replace(long, prompt="p", response="r")).pair == ("p", "r")


def test_rows_of_variations() -> None:
    rows = [
        Row("harmful-1-none", "a", None, None, soft=0.9),
        Row("harmful-1-comply", "a", "b", None, soft=0.5),
        Row("harmful-2-none", "c", None, None, soft=0.4),
        Row("harmful-2-refuse", "c", "d", None, soft=0.05),
    ]
    sure = [row.id for row in _ways.filtered(rows, "sure")]
    assert sure == ["harmful-1-none", "harmful-2-refuse"]
    flagged = [row.id for row in _ways.filtered(rows, "flagged")]
    assert flagged == ["harmful-1-none", "harmful-1-comply"]
