"""benchmarks.training._ablation: groups, intervals over rows and seeds, paired differences."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.harness.errors import BenchmarkDataError
from benchmarks.training._ablation import MACRO, METRICS, PAIRS, PROMPTS, groups_of, measured
from harmguard.rows import Row
from harmguard.training.evaluate.report import evaluate
from harmguard.training.evaluate.scored import scored


def val(count: int = 40) -> list[Row]:
    """`count` rows of each label: prompts of two sources, pairs of a third."""
    return [
        Row(f"{source}-{i}", f"text {i}", response, i % 2, source=source)
        for source, response in (("a", None), ("b", None), ("c", "an answer"))
        for i in range(2 * count)
    ]


def scores(rows: list[Row], skill: float, seed: int) -> list[float]:
    noise = np.random.default_rng(seed).uniform(0, 1, len(rows))
    return [
        float(skill * (row.label or 0) + (1 - skill) * n)
        for row, n in zip(rows, noise, strict=True)
    ]


def test_groups_are_the_reports() -> None:
    rows = [*val(), Row("one", "text", None, 1, source="few")]
    assert list(groups_of(rows)) == [PROMPTS, PAIRS, "a (prompts)", "b (prompts)", "c (pairs)"]
    values = scores(rows, 0.3, 0)
    own = measured(rows, [values], 0, resamples=20).figures()
    report = evaluate(scored(rows, values), {"prompt": 0.5, "exchange": 0.5}, resamples=20)
    for name in METRICS:
        assert own[MACRO][name]["value"] == report["macro"]["all"][name]["value"]
        assert own[PROMPTS][name]["value"] == report["pooled"]["prompt"][name]["value"]
    by_source = {s["source"]: s["auprc"]["value"] for s in report["sources"]}
    assert own["c (pairs)"]["auprc"]["value"] == by_source["c"]


def test_a_better_arm_is_above_by_more_than_its_interval() -> None:
    rows = val()
    worse = measured(rows, [scores(rows, 0.1, s) for s in range(3)], 0, resamples=200)
    better = measured(rows, [scores(rows, 0.4, s) for s in range(3)], 1, resamples=200)
    gain = better.less(worse)[MACRO]["auprc"]
    assert 0 < gain["low"] < gain["value"] < gain["high"]
    assert worse.less(better)[MACRO]["auprc"]["value"] == -gain["value"]
    spread = better.figures()[MACRO]["auprc"]
    assert spread["low"] < spread["value"] < spread["high"]
    assert [own[MACRO]["auprc"] for own in better.seeds] != [spread["value"]] * 3


def test_rows_are_paired_and_seeds_are_not() -> None:
    rows = val()
    values = [scores(rows, 0.3, s) for s in range(3)]
    same = measured(rows, values[:1], 0, resamples=50).less(
        measured(rows, values[:1], 1, resamples=50)
    )
    cell = same[MACRO]["auprc"]
    assert (cell["low"], cell["value"], cell["high"]) == (0.0, 0.0, 0.0)
    drawn = measured(rows, values, 0, resamples=50).less(measured(rows, values, 1, resamples=50))
    cell = drawn[MACRO]["auprc"]
    assert cell["low"] < cell["value"] == 0.0 < cell["high"]


def test_rows_without_a_source_that_counts() -> None:
    with pytest.raises(BenchmarkDataError, match="no source of val has 20 rows of each label"):
        groups_of(val(19))
