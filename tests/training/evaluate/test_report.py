from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harmguard.errors import DataError, OutputExistsError
from harmguard.rows import Row
from harmguard.training.evaluate import metrics
from harmguard.training.evaluate.report import evaluate, markdown, write_report
from harmguard.training.evaluate.scored import Scored, read_scores, scored

THRESHOLDS = {"prompt": 0.5, "exchange": 0.3}


def rows_of(source: str, kind: str, harmful: int, safe: int, seed: int = 0) -> list[Scored]:
    rng = np.random.default_rng(seed)
    labels = [1] * harmful + [0] * safe
    return [
        Scored(
            id=f"{source}-{i}",
            score=float(np.clip(0.35 + 0.3 * y + 0.2 * rng.normal(), 0, 1)),
            label=y,
            source=source,
            kind=kind,
            tokens=int(rng.integers(1, 700)),
            windows=1,
        )
        for i, y in enumerate(labels)
    ]


def small() -> list[Scored]:
    return [
        *rows_of("mixed", "prompt", 30, 40, 1),
        *rows_of("few", "prompt", 19, 40, 2),
        *rows_of("pairs", "exchange", 25, 20, 3),
        *rows_of("calm", "prompt", 0, 50, 4),
        *rows_of("vile", "exchange", 30, 0, 5),
    ]


def test_macro_is_the_mean_over_sources_with_twenty_rows_of_each_label() -> None:
    report = evaluate(small(), THRESHOLDS, resamples=50)
    inside = {s["source"]: s["in_macro"] for s in report["sources"]}
    assert inside == {"mixed": True, "few": False, "pairs": True}
    by_source = {s["source"]: s for s in report["sources"]}
    for name in metrics.NAMES:
        expected = (by_source["mixed"][name]["value"] + by_source["pairs"][name]["value"]) / 2
        assert report["macro"]["all"][name]["value"] == pytest.approx(expected, abs=1e-6)
    assert report["macro"]["all"]["sources"] == 2
    assert report["macro"]["all"]["constant"] == pytest.approx((30 / 70 + 25 / 45) / 2, abs=1e-6)
    assert report["macro"]["exchange"]["auprc"] == by_source["pairs"]["auprc"]


def test_languages_are_told_apart_where_there_are_several() -> None:
    assert "languages" not in evaluate(small(), THRESHOLDS, resamples=10)
    german = [replace(row, id=f"de-{row.id}", lang="de") for row in rows_of("m", "prompt", 9, 4, 7)]
    thai = [replace(row, id=f"th-{row.id}", lang="th") for row in rows_of("n", "exchange", 0, 8, 9)]
    report = evaluate([*small(), *german, *thai], THRESHOLDS, resamples=50)
    unknown, first, second = report["languages"]
    assert [entry["lang"] for entry in report["languages"]] == ["", "de", "th"]
    assert (unknown["n"], first["n"], first["harmful"]) == (len(small()), 13, 9)
    labels, scores = [row.label for row in german], [row.score for row in german]
    point = metrics.point_metrics(*metrics.as_arrays(labels, scores), 0.5)
    assert first["auprc"]["value"] == pytest.approx(point["auprc"], abs=1e-6)
    assert first["safe_flagged"]["n"] == 4
    assert "auprc" not in second
    assert "harmful_missed" not in second
    flagged = sum(row.score >= 0.3 for row in thai) / 8
    assert second["safe_flagged"]["value"] == pytest.approx(flagged)
    text = markdown(report)
    assert "## By language" in text
    assert "| not given | " in text
    assert "| th | 8 | - | " in text


def test_pooled_figures_are_those_of_all_rows_of_the_kind_at_its_threshold() -> None:
    rows = small()
    report = evaluate(rows, THRESHOLDS, resamples=50)
    for kind in ("prompt", "exchange"):
        own = [r for r in rows if r.kind == kind]
        expected = metrics.point_metrics(
            [r.label for r in own], [r.score for r in own], THRESHOLDS[kind]
        )
        assert report["pooled"][kind]["n"] == len(own)
        for name, value in expected.items():
            found = report["pooled"][kind][name]
            assert found["value"] == pytest.approx(value, abs=1e-6)
            assert found["low"] <= found["value"] <= found["high"]


def test_one_class_sources_have_their_share_flagged() -> None:
    rows = small()
    report = evaluate(rows, THRESHOLDS, resamples=10)
    calm, vile = report["one_class"]
    assert (calm["source"], calm["label"], calm["n"]) == ("calm", "safe", 50)
    flagged = sum(r.score >= 0.5 for r in rows if r.source == "calm")
    assert calm["flagged"] == metrics.wilson(flagged, 50).to_json()
    assert (vile["source"], vile["label"]) == ("vile", "harmful")


def test_a_set_of_one_label_is_reported_without_ranking_figures() -> None:
    report = evaluate(rows_of("calm", "prompt", 0, 5), THRESHOLDS)
    assert (report["macro"], report["pooled"], report["sources"]) == ({}, {}, [])
    assert report["one_class"][0]["n"] == 5
    assert "None." in markdown(report)


def test_length_buckets_count_errors_on_each_side() -> None:
    row = Scored("a", 0.9, 0, "s", "prompt", 128, 1)
    rows = [
        row,
        replace(row, score=0.1),
        replace(row, tokens=129),
        replace(row, tokens=512, label=1, score=0.4),
        replace(row, tokens=513, label=1),
        replace(row, tokens=None),
    ]
    short, middle, long = evaluate(rows, THRESHOLDS, resamples=10)["lengths"]
    assert short["tokens"] == "<=128"
    assert short["safe_flagged"] == {"n": 2, **metrics.wilson(1, 2).to_json()}
    assert "harmful_missed" not in short
    assert middle["safe_flagged"]["value"] == 1.0
    assert middle["harmful_missed"] == {"n": 1, **metrics.wilson(1, 1).to_json()}
    assert (long["tokens"], long["harmful_missed"]["value"]) == (">512", 0.0)


def test_the_same_rows_and_seed_give_the_same_report() -> None:
    first = evaluate(small(), THRESHOLDS, resamples=40, seed=1)
    assert first == evaluate(small(), THRESHOLDS, resamples=40, seed=1)
    assert first != evaluate(small(), THRESHOLDS, resamples=40, seed=2)


def test_report_folder_can_be_made_again_from_its_scores(tmp_path: Path) -> None:
    rows = small()
    report = evaluate(rows, THRESHOLDS, resamples=40)
    out = write_report(tmp_path / "new" / "report", rows, report)
    names = sorted(p.name for p in out.iterdir())
    assert names == [
        "histogram.png",
        "precision_recall.png",
        "reliability.png",
        "report.json",
        "report.md",
        "scores.jsonl",
    ]
    assert json.loads((out / "report.json").read_text()) == report
    again = read_scores(out / "scores.jsonl")
    assert again == rows
    assert evaluate(again, THRESHOLDS, resamples=40) == report
    assert [p.name for p in out.parent.iterdir()] == ["report"]


def test_no_output_holds_a_text(tmp_path: Path) -> None:
    rows = [
        Row(id=str(i), prompt="a secret word", response="an answer", label=i % 2) for i in range(50)
    ]
    lines = scored(rows, np.linspace(0, 1, 50))
    out = write_report(tmp_path / "r", lines, evaluate(lines, THRESHOLDS, resamples=10))
    for path in out.iterdir():
        assert b"secret" not in path.read_bytes()
        assert b"answer" not in path.read_bytes()


def test_markdown_states_thresholds_resamples_and_bins() -> None:
    text = markdown(evaluate(small(), THRESHOLDS, resamples=40))
    assert "prompt 0.5, exchange 0.3" in text
    assert "40 resamples, seed 0" in text
    assert "15 equally wide bins" in text
    assert "| macro, all | 2 |" in text
    widths = {line.count("|") for line in text.split("## Sources with one")[0].splitlines()}
    assert widths == {0, 12}


def test_an_existing_output_is_refused(tmp_path: Path) -> None:
    rows = rows_of("mixed", "prompt", 5, 5)
    with pytest.raises(OutputExistsError, match="exists; expected a new path"):
        write_report(tmp_path, rows, evaluate(rows, THRESHOLDS, resamples=10))


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    rows = rows_of("mixed", "prompt", 5, 5)
    with pytest.raises(KeyError):
        write_report(tmp_path / "r", rows, {"thresholds": {}})
    assert list(tmp_path.iterdir()) == []


def test_no_rows_is_an_error() -> None:
    with pytest.raises(DataError, match="found no rows"):
        evaluate([], THRESHOLDS)
    with pytest.raises(DataError, match="found no rows"):
        scored([], [])


def test_a_missing_label_is_an_error() -> None:
    rows = [Row("a", "p", None, 1), Row("b", "p", None, None)]
    with pytest.raises(DataError, match="1 of 2 rows without a label, the first at index 1"):
        scored(rows, [0.1, 0.2])


def test_a_kind_without_threshold_is_an_error() -> None:
    with pytest.raises(DataError, match="rows of kind exchange and no threshold"):
        evaluate(small(), {"prompt": 0.5})


def test_another_kind_is_an_error() -> None:
    with pytest.raises(DataError, match="another kind than prompt and exchange"):
        scored([Scored("a", 0.1, 1, "s", "image")], [0.1])


def test_tokens_of_another_length_are_an_error() -> None:
    with pytest.raises(DataError, match="1 values of tokens for 2 rows"):
        scored(small()[:2], [0.1, 0.2], tokens=[1])


def test_unreadable_scores_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "scores.jsonl"
    with pytest.raises(DataError, match=r"no file scores\.jsonl"):
        read_scores(path)
    path.write_text('{"id": "a", "score": 0.5, "label": 1, "source": "s", "kind": "prompt"}\n{}\n')
    with pytest.raises(DataError, match=r"line 2 of scores\.jsonl is not a scored row"):
        read_scores(path)
    path.write_text("not json\n")
    with pytest.raises(DataError, match="line 1"):
        read_scores(path)
    path.write_text("")
    with pytest.raises(DataError, match="found no rows"):
        read_scores(path)
