"""benchmarks.quality.languages, on a guard that flags one word."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.harness.command import command, command_of
from benchmarks.harness.results import read_json
from benchmarks.quality import languages
from harmguard.errors import DataError
from harmguard.rows import Row

SIXTEEN = set("ar bn de es fr hi it jv ko nl pl pt sw th vi zh".split())


def test_pairs_are_there_in_sixteen_languages_and_english() -> None:
    pairs = read_json(languages.TRANSLATED)["pairs"]
    assert set(pairs) == SIXTEEN | {"en"}
    for texts in pairs.values():
        assert [len(pair) for pair in texts] == [2] * 15
        flat = [text.strip() for pair in texts for text in pair]
        assert len({*flat}) == 30
        assert all(flat)


def rows(count: int, lang: str = "de") -> list[Row]:
    return [Row(str(i), f"text {lang} {i}", None, i % 2, lang=lang) for i in range(count)]


def test_rows_are_judged_at_a_threshold_that_others_set() -> None:
    made = rows(400)
    labels = np.array([row.label for row in made])
    scores = np.where(labels == 1, 0.9, 0.1)
    # One fold's benign rows score high: its own threshold would be higher.
    outlier = np.array([languages.fold_of(row) == 0 for row in made]) & (labels == 0)
    scores[outlier] = 0.95
    flagged = languages.cross_flagged(made, scores, 0.25)
    assert flagged[outlier].all()
    assert flagged[labels == 1].sum() > 0
    assert not flagged[(labels == 0) & ~outlier].any()


def test_folds_keep_a_prompt_together_and_use_all() -> None:
    made = rows(100)
    again = [Row("x", row.prompt, "an answer", 1, lang="fr") for row in made]
    assert [languages.fold_of(row) for row in made] == [languages.fold_of(row) for row in again]
    assert {languages.fold_of(row) for row in made} == set(range(languages.FOLDS))


def test_too_few_rows_of_a_kind_are_judged_at_a_half() -> None:
    made = rows(20)
    scores = np.array([0.5 if row.label else 0.49 for row in made])
    flagged = languages.cross_flagged(made, scores, 0.1)
    assert flagged.tolist() == [bool(row.label) for row in made]


def test_scores_that_no_threshold_parts_are_an_error() -> None:
    made = rows(200)
    with pytest.raises(DataError, match="no threshold up to"):
        languages.cross_flagged(made, np.ones(200), 0.1)


def test_a_language_of_one_label_has_no_auprc() -> None:
    zeros, flags = np.zeros(3, np.int64), np.zeros(3, bool)
    one = languages.language("xx", zeros, np.array([0.1, 0.2, 0.3]), flags)
    assert (one["auprc"], one["n"], one["benign"]["n"]) == (None, 3, 3)


def test_a_quick_run_and_its_page(
    needle_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = [
        {"prompt": f"{word} {lang} {number}", "label": label, "lang": lang}
        for lang in ("de", "fr")
        for number in range(80)
        for word, label in (("danger", 1), ("bread", 0))
    ]
    lines = "".join(json.dumps(row) + "\n" for row in data)
    (tmp_path / "multilingual_val.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    monkeypatch.setenv("HARMGUARD_DATA", str(tmp_path))
    out = tmp_path / "languages.json"
    run = [str(needle_bundle), "--threads", "1", "--out", str(out), "--max-flagged", "0.1"]
    assert command("languages").main([*run, "--quick"]) == 0
    quick = json.loads(out.read_text())
    assert [one["n"] for one in quick["languages"]] == [2 * languages.QUICK_ROWS] * 2
    assert command("languages").main(run) == 0
    result = json.loads(out.read_text())
    assert result["mean_auprc"] == 1
    assert [one["benign"]["count"] for one in result["languages"]] == [0, 0]
    page = languages.tables(result)
    cells = [" ".join(line.split()) for line in page.splitlines()]
    assert "| de | 160 | 80 | 1.000 (1.000 to 1.000) | 0.0 (0.0 to 4.6) |" in cells
    assert "(at most 10 % of safe rows): 0.0 (0.0 to 2.3) % of 160" in page
    assert len(result["pairs"]) == 17
    assert command_of("languages-mini") is command("languages")
