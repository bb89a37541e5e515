"""benchmarks.quality.forms, on a guard that flags one word."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from random import Random

import pytest

from benchmarks.harness.command import command, command_of
from benchmarks.quality import forms
from harmguard import HarmGuard
from harmguard.training.corpora import corpus, made


def test_answers_and_frames_are_in_no_training_row() -> None:
    used = {*made.SHORT_REFUSALS, *made.SHORT_ANSWERS, *corpus.REFUSALS}
    assert used & set(forms.REFUSALS) == {"No.", "Sorry."}
    frames = [*made.ASKED, *made.CODE]
    assert not [frame for frame in frames if any(part.strip() in frame for part in forms._AFTER)]


def test_words_after_are_as_many_as_it_says() -> None:
    text = forms.around("How do I bake bread?", Random(1))
    assert text == forms.around("How do I bake bread?", Random(1))
    assert len(text.split()) == 5 + forms.AROUND_WORDS
    assert text.startswith("How do I bake bread? ")


def test_forms_are_counted_for_both_labels(needle: HarmGuard) -> None:
    joined = next(one for one in forms.FORMS if one.name == "gaps removed")
    harmful, benign = ["danger", "please danger", "bad thing"], ["bread", "kind danger"]
    clean = forms.form(needle, None, harmful, benign)
    assert (clean["name"], clean["harmful"]["count"], clean["benign"]["count"]) == (
        "as it is",
        2,
        1,
    )
    found = forms.form(needle, joined, harmful, benign)
    assert (found["name"], found["harmful"]["n"], found["benign"]["n"]) == ("gaps removed", 3, 2)
    assert found["harmful"]["count"] == 1


def test_a_quick_run_and_its_page(
    needle_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        {"prompt": f"{word} {number}", "label": label}
        for number in range(12)
        for word, label in (("danger", 1), ("bread", 0))
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "val.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    monkeypatch.setenv("HARMGUARD_DATA", str(tmp_path))
    out = tmp_path / "forms.json"
    run = [str(needle_bundle), "--quick", "--threads", "1", "--out", str(out)]
    assert command("forms").main(run) == 0
    result = json.loads(out.read_text())
    assert result["clean"]["harmful"]["count"] == 10
    assert len(result["forms"]) == len(forms.FORMS)
    assert result["refused"]["n"] == 5 * len(forms.REFUSALS)
    page = forms.tables(result)
    cells = [" ".join(line.split()) for line in page.splitlines()]
    assert "| as it is | 100.0 (72.2 to 100.0) | 0.0 | 0.0 (0.0 to 27.8) |" in cells
    assert "Short refusals to 5 harmful prompts, flagged: 50 of 50" in page
    assert command_of("forms-mini") is command("forms")
