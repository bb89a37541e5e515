from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harmguard import HarmGuard
from harmguard.bundle import open_bundle
from harmguard.cli import main
from harmguard.core.scores import sigmoid
from harmguard.errors import BundleNotFoundError, DataError, OutputExistsError
from harmguard.rows import Row
from harmguard.training.evaluate.calibrate import (
    TEMPERATURES,
    Calibration,
    balanced_weights,
    calibrate,
    fit_temperature,
    margins,
    moved,
    nll,
    rescore_golden,
)
from harmguard.training.evaluate.thresholds import DefaultRule
from harmguard.verify import verify

Writer = Callable[..., Path]
TRUE_TEMPERATURE = 3.0


def labelled(n: int, kind: str, source: str = "mixed", seed: int = 0) -> list[dict[str, Any]]:
    """Rows whose labels are drawn at TRUE_TEMPERATURE from the logits of `word_bundle`."""
    rng = np.random.default_rng(seed)
    words = rng.integers(0, 81, n)
    harmful = rng.random(n) < 1 / (1 + np.exp(-(-6 + 0.15 * words) / TRUE_TEMPERATURE))
    return [
        {
            "id": f"{source}-{i}",
            "prompt": f"word{word:02}" if kind == "prompt" else "word40",
            "response": "" if kind == "prompt" else f"word{word:02}",
            "label": int(y),
            "source": source,
            "task": "prompt" if kind == "prompt" else "response",
        }
        for i, (word, y) in enumerate(zip(words, harmful, strict=True))
    ]


@pytest.fixture(scope="module")
def both_kinds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "set.jsonl"
    rows = labelled(600, "prompt") + labelled(600, "exchange", seed=1)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def once(
    word_bundle: Path, both_kinds: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Calibration]:
    """`word_bundle` calibrated on `both_kinds`."""
    out = tmp_path_factory.mktemp("once") / "out"
    return out, calibrate(word_bundle, both_kinds, out, threads=1)


def test_the_temperature_that_made_the_labels_is_found() -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(0, 4, 20_000)
    y = (rng.random(z.size) < sigmoid(z / 2.5)).astype(np.int64)
    found = fit_temperature(z, y, np.ones(z.size))
    assert found == pytest.approx(2.5, rel=0.05)
    for other in (0.95 * found, 1.05 * found):
        assert nll(z, y, np.ones(z.size), found) < nll(z, y, np.ones(z.size), other)


def test_weights_count_as_repeated_rows() -> None:
    z, y = np.array([1.0, -2.0, 0.5, -0.3]), np.array([1, 0, 0, 1])
    times = np.array([3, 1, 1, 2])
    once = fit_temperature(np.repeat(z, times), np.repeat(y, times), np.ones(7))
    assert fit_temperature(z, y, times.astype(float)) == once


def test_rows_without_a_mistake_stop_at_the_bound() -> None:
    z, y = np.array([-1.0, 1.0]), np.array([0, 1])
    assert fit_temperature(z, y, np.ones(2)) == TEMPERATURES[0]
    assert fit_temperature(z, 1 - y, np.ones(2)) == TEMPERATURES[1]


def test_margins_undo_the_temperature() -> None:
    z = np.array([-9.0, -0.5, 0.0, 3.0])
    assert margins(sigmoid(z / 1.7), 1.7) == pytest.approx(z)
    assert np.isfinite(margins([0.0, 1.0], 1.0)).all()


def test_each_label_of_each_kind_weighs_the_same() -> None:
    rows = [Row("a", "p", None, 1, weight=2.0), Row("b", "p", None, 0), Row("c", "p", None, 0)]
    rows += [Row("d", "p", "r", 0, weight=0.4)]
    assert balanced_weights(rows).tolist() == [1.0, 0.5, 0.5, 1.0]


def test_a_kept_threshold_cuts_at_the_same_logits() -> None:
    z = np.linspace(-5, 5, 1001)
    before = sigmoid(z / 2) >= 0.7
    after = sigmoid(z / 3) >= moved(0.7, 2, 3)
    assert (before == after).all()
    assert moved(0.5, 2, 3) == 0.5
    assert (moved(0.0, 2, 3), moved(1.0, 2, 3)) == (0.0, 1.0)
    assert moved(0.99, 2, 0.05) == 0.9995


def test_golden_rows_take_the_maximum_over_windows_and_a_wider_tolerance() -> None:
    row = {"logits": [[0.0, -1.0], [1.0, 2.0]], "score": 0.6, "tolerance": 0.01, "ids": [[2], [3]]}
    (line,) = rescore_golden(json.dumps(row).encode() + b"\n", 0.5, 1.0).splitlines()
    found = json.loads(line)
    assert found["score"] == pytest.approx(1 / (1 + np.exp(-2)), abs=1e-6)
    assert (found["tolerance"], found["ids"]) == (0.02, [[2], [3]])
    (line,) = rescore_golden(json.dumps(row).encode(), 2.0, 1.0).splitlines()
    assert json.loads(line)["tolerance"] == 0.01


def test_a_calibrated_bundle(
    word_bundle: Path, both_kinds: Path, once: tuple[Path, Calibration]
) -> None:
    out, result = once
    old, new = open_bundle(word_bundle), open_bundle(out)
    assert new.path("model.onnx").read_bytes() == old.path("model.onnx").read_bytes()
    assert new.path("tokenizer.json").read_bytes() == old.path("tokenizer.json").read_bytes()
    assert result.temperature == pytest.approx(TRUE_TEMPERATURE, rel=0.15)
    assert new.manifest.output.temperature == result.temperature
    digest = hashlib.sha256(both_kinds.read_bytes()).hexdigest()
    for kind in ("prompt", "exchange"):
        points = new.manifest.thresholds[kind]
        stream = ["stream"] if kind == "exchange" else []
        assert sorted(points) == ["default", "fpr_1", "fpr_5", *stream]
        for point in points.values():
            assert point.set is not None
            assert point.set.startswith(f"set.jsonl (sha256 {digest}, 600 rows: ")
            assert point.value == round(point.value, 4)
        assert points["default"].rule == str(DefaultRule())
        assert points["fpr_1"].rule == "lowest with at most 1% of safe rows flagged"
    figures = new.manifest.metrics["calibration"]
    assert figures["nll_after"] < figures["nll_before"]
    assert new.manifest.metrics["old"] == 1
    assert verify(out).rows == 11


def test_scores_and_rates_of_the_new_bundle(
    both_kinds: Path, once: tuple[Path, Calibration], word_margins: dict[str, float]
) -> None:
    out, result = once
    rows = [json.loads(line) for line in both_kinds.read_text().splitlines()]
    safe = [
        (row["prompt"], row["response"] if row["task"] == "response" else None)
        for row in rows
        if row["label"] == 0
    ]
    with HarmGuard(out, threads=1) as guard:
        found = guard.score_many((word, None) for word in word_margins)
    expected = sigmoid(np.array(list(word_margins.values())) / result.temperature)
    assert found == pytest.approx(expected, abs=1e-5)
    for name, limit in (("fpr_1", 0.01), ("fpr_5", 0.05), ("default", 0.20)):
        with HarmGuard(out, threads=1, threshold=name) as guard:
            verdicts = guard.check_many(safe)
        for kind, one in (("prompt", False), ("exchange", True)):
            own = [v.harmful for v, (_, r) in zip(verdicts, safe, strict=True) if bool(r) is one]
            share = sum(own) / len(own)
            assert share <= limit
            assert share == pytest.approx(result.metrics[kind][name]["fpr"], abs=1e-6)


def test_a_text_in_windows_is_calibrated_by_its_highest_window(
    word_bundle: Path, write_rows: Writer, tmp_path: Path
) -> None:
    long = [{**row, "prompt": "word40 " * 40 + row["prompt"]} for row in labelled(600, "prompt")]
    result = calibrate(word_bundle, write_rows(long), tmp_path / "out", threads=1)
    # Windows without the last word are at 0, so negative words cannot be seen.
    capped = np.array([max(0.0, -6 + 0.15 * int(row["prompt"][-2:])) for row in long])
    y = np.array([row["label"] for row in long])
    weights = np.where(y == 1, 1 / y.sum(), 1 / (y.size - y.sum()))
    assert result.temperature == pytest.approx(fit_temperature(capped, y, weights), abs=2e-3)


def test_a_kind_without_rows_keeps_its_decisions(
    word_bundle: Path, write_rows: Writer, tmp_path: Path
) -> None:
    data = write_rows(labelled(600, "prompt"))
    result = calibrate(word_bundle, data, tmp_path / "out", threads=1)
    kept = result.thresholds["exchange"]
    value = moved(0.7, 2.0, result.temperature)
    assert kept == {"default": {"value": value, "set": "an old set", "rule": "an old rule"}}
    assert "exchange: default threshold kept: 0 harmful and 0 safe rows" in result.notes[0]
    assert "exchange" not in result.metrics


def test_few_rows_leave_operating_points_out_and_say_so(
    word_bundle: Path, write_rows: Writer, tmp_path: Path
) -> None:
    data = write_rows(labelled(300, "prompt"))
    result = calibrate(word_bundle, data, tmp_path / "out", threads=1)
    assert sorted(result.thresholds["prompt"]) == ["default", "fpr_5"]
    safe = result.metrics["prompt"]["rows"] - result.metrics["prompt"]["harmful"]
    expected = f"prompt: fpr_1 not chosen: {safe} safe rows, at least 200 are needed"
    assert expected in result.notes


def test_each_language_has_a_line_in_the_card(
    word_bundle: Path, write_rows: Writer, tmp_path: Path
) -> None:
    rows = [
        {**row, "lang": "de" if row["label"] or i % 2 else "fr"}
        for i, row in enumerate(labelled(600, "prompt"))
    ]
    result = calibrate(word_bundle, write_rows(rows), tmp_path / "out", threads=1)
    german, french = result.metrics["languages"]
    assert (german["lang"], french["lang"]) == ("de", "fr")
    assert (german["rows"] + french["rows"], french["harmful"]) == (600, 0)
    assert sorted(french) == ["fpr", "harmful", "lang", "rows"], "no harmful rows: no AUPRC"
    assert german["recall"] == result.metrics["prompt"]["default"]["recall"]
    text = (tmp_path / "out" / "README.md").read_text()
    assert f"\n| fr | {french['rows']} | 0 | - | {french['fpr']:.1%} | - |\n" in text


def test_degenerate_rows_do_not_move_a_threshold(
    word_bundle: Path, write_rows: Writer, tmp_path: Path
) -> None:
    rows = labelled(600, "prompt")
    odd = {"prompt": "-- ..", "response": "", "source": "odd", "task": "prompt", "label": 0}
    plain = calibrate(word_bundle, write_rows(rows, name="a.jsonl"), tmp_path / "a", threads=1)
    data = write_rows(rows + [odd] * 400, name="b.jsonl")
    result = calibrate(word_bundle, data, tmp_path / "b", threads=1)
    assert result.temperature == plain.temperature
    for name, point in plain.thresholds["prompt"].items():
        assert result.thresholds["prompt"][name]["value"] == point["value"]
    assert any(note.startswith("left out 400 rows with a text") for note in result.notes)


def test_calibrating_again_changes_nothing_but_keeps_one_section_in_the_card(
    both_kinds: Path, once: tuple[Path, Calibration], tmp_path: Path
) -> None:
    folder, first = once
    second = calibrate(folder, both_kinds, tmp_path / "twice", threads=1)
    assert second.temperature == pytest.approx(first.temperature, abs=2e-4)
    for kind, points in first.thresholds.items():
        for name, point in points.items():
            found = second.thresholds[kind][name]["value"]
            assert found == pytest.approx(point["value"], abs=2e-4)
    text = (tmp_path / "twice" / "README.md").read_text()
    assert text.startswith("# words\n\nA card.\n\n## Limits\n\nMany.\n\n## Calibration\n")
    assert text.count("## Calibration") == 1
    assert "An old section" not in text
    assert text.count("\n| prompt | ") == 3


def test_too_few_golden_pairs_near_the_threshold_are_noted(
    word_bundle: Path, write_rows: Writer, tmp_path: Path
) -> None:
    rows = labelled(600, "prompt")
    result = calibrate(
        word_bundle,
        write_rows(rows),
        tmp_path / "out",
        rule=DefaultRule(max_fpr=0.001, max_safe_only_fpr=0.001),
        threads=1,
    )
    assert "golden pairs are within 0.15 of the default threshold" in result.notes[-1]


def test_the_command(
    word_bundle: Path, both_kinds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["calibrate", str(word_bundle), str(both_kinds), str(out), "--threads", "1"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("temperature ")
    assert len(printed) == 8
    assert printed[2].startswith("prompt fpr_1 0.")
    assert main(["calibrate", str(word_bundle), str(both_kinds), str(out)]) == 3
    assert "out' exists; expected a new path" in capsys.readouterr().err


def test_an_existing_output_is_refused(word_bundle: Path, both_kinds: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputExistsError, match="exists; expected a new path"):
        calibrate(word_bundle, both_kinds, tmp_path)


def test_no_bundle_is_an_error(both_kinds: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleNotFoundError):
        calibrate(tmp_path / "absent", both_kinds, tmp_path / "out")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "holds no rows"),
        ([{"prompt": "...", "label": 1}], "holds no rows with words in them"),
        ([{"prompt": "word01"}, {"prompt": "word02", "label": 1}], "1 of 2 rows have no label"),
        ([{"prompt": "word01", "label": 0}] * 3, "found label 0 in all 3 rows"),
        ([{"prompt": "w" * 10_001 + "abc", "label": y} for y in (0, 1)], "rows counted from 0"),
    ],
)
def test_rows_that_cannot_be_used_are_an_error(
    word_bundle: Path,
    write_rows: Writer,
    tmp_path: Path,
    rows: list[dict[str, Any]],
    message: str,
) -> None:
    with pytest.raises(DataError, match=message):
        calibrate(word_bundle, write_rows(rows), tmp_path / "out", threads=1)
    assert not (tmp_path / "out").exists()


def test_one_label_has_no_temperature() -> None:
    with pytest.raises(DataError, match="found one label in all 2 rows"):
        fit_temperature(np.array([1.0, 2.0]), np.array([1, 1]), np.ones(2))


@pytest.mark.parametrize(("count", "fitted"), [(49, False), (50, True)])
def test_a_temperature_needs_rows_of_each_label(
    word_bundle: Path, write_rows: Writer, tmp_path: Path, count: int, fitted: bool
) -> None:
    rows = [{"prompt": f"word{10 + i % 25} word4{i % 9}", "label": 0} for i in range(60)]
    rows += [{"prompt": f"word{46 + i % 25} word3{i % 9}", "label": 1} for i in range(count)]
    result = calibrate(word_bundle, write_rows(rows), tmp_path / "out", threads=1)
    note = f"the temperature stays 2: {count} harmful and 60 safe rows, at least 50 of each are"
    assert any(n.startswith(note) for n in result.notes) is not fitted
    assert (result.temperature == 2.0) is not fitted
    assert any("is at its bound, 0.05: the guard makes no mistake" in n for n in result.notes) is (
        result.temperature == 0.05
    )
