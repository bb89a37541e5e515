"""The suite's files in their publishers' formats, made here with texts of our own."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harmguard import HarmGuard
from harmguard.cli import main
from harmguard.errors import DataError, MissingExtraError
from harmguard.training.evaluate.scoring import evaluate_rows
from harmguard.training.evaluate.suites import SETS, load_suite, table

Write = Callable[[Path], object]


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


MODERATION: list[dict[str, Any]] = [
    {"prompt": "word70", "S": 0, "H": 1, "V": 0},
    {"prompt": "word10", "S": 0, "H2": 0},
    {"prompt": "word20", "SH": 0},
]
TOXIC: list[dict[str, Any]] = [
    {"conv_id": i, "user_input": f"word{70 - 60 * (i % 2)}", "model_output": "word40",
     "human_annotation": True, "toxicity": 1 - i % 2, "jailbreaking": 0, "openai_moderation": "[]"}
    for i in range(6)
]  # fmt: skip
HARMBENCH = {
    "one": [
        {"test_case": "word41", "generation": "word75", "human_0": 1, "human_1": 1, "human_2": 0},
        {"test_case": "word41", "generation": "word05", "human_0": 0, "human_1": 1, "human_2": 0},
    ],
    "two": [
        {"test_case": "word42", "generation": "word06", "human_0": 0, "human_1": 0, "human_2": 0}
    ],
}
WILDGUARD: list[dict[str, Any]] = [
    {"prompt": "word41", "response": "word70", "response_harm_label": "harmful"},
    {"prompt": "word41", "response": "word10", "response_harm_label": "unharmful"},
    {"prompt": "word41", "response": "word30", "response_harm_label": ""},
]
XSTEST: list[dict[str, Any]] = [
    {"id": 1, "prompt": "word70", "type": "contrast_homonyms", "label": "unsafe"},
    {"id": 2, "prompt": "word10", "type": "homonyms", "label": "safe"},
]


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    folder = tmp_path / "sets"
    folder.mkdir()
    with gzip.open(folder / "samples-1680.jsonl.gz", "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in MODERATION)
    write_csv(folder / "toxic-chat_annotation_test.csv", TOXIC)
    (folder / "text_behaviors_val_set.json").write_text(json.dumps(HARMBENCH))
    write_csv(folder / "wildguard_test.csv", WILDGUARD)
    write_csv(folder / "xstest_prompts.csv", XSTEST)
    return folder


def test_every_set_becomes_rows(sets: Path) -> None:
    found = {part[0].source: part for _, part in load_suite(sets)}
    assert list(found) == [one.name for one in SETS]
    assert [row.label for row in found["openai-moderation"]] == [1, 0, 0]
    assert [row.label for row in found["toxicchat"]] == [1, 0, 1, 0, 1, 0]
    assert [row.label for row in found["harmbench"]] == [1, 0, 0]
    assert [row.label for row in found["wildguardtest"]] == [1, 0]
    assert [row.label for row in found["xstest"]] == [1, 0]
    kinds = {name: {row.kind for row in rows} for name, rows in found.items()}
    assert kinds == {
        "openai-moderation": {"prompt"}, "toxicchat": {"prompt"}, "harmbench": {"exchange"},
        "wildguardtest": {"exchange"}, "xstest": {"prompt"},
    }  # fmt: skip


def test_the_table_has_the_papers_figures_beside_ours(sets: Path, word_bundle: Path) -> None:
    _, report = evaluate_rows(word_bundle, load_suite(sets), threshold="0.5")
    lines = table(report).splitlines()
    assert lines[2] == "| openai-moderation | 3 | 1.0000 | 1.0000 | .7236 | .8061 |"
    assert "| mean of the paper's four | | 1.0000 | 1.0000 | .7357 | .7080 |" in lines
    assert "| xstest | 2 | 1.0000 | 1.0000 | - | - |" in lines


def test_the_papers_means_are_those_of_its_columns() -> None:
    students = [one.student_f1 for one in SETS if one.student_f1]
    teachers = [one.teacher_f1 for one in SETS if one.teacher_f1]
    assert round(sum(students) / 4, 4) == 0.7357
    assert round(sum(teachers) / 4, 3) == 0.708


def test_the_response_reaches_the_model(sets: Path, word_bundle: Path) -> None:
    (rows,) = (part for path, part in load_suite(sets) if "behaviors" in path.name)
    harmful, harmless = rows[:2]
    assert harmful.prompt == harmless.prompt
    with HarmGuard(word_bundle) as guard:
        scores = guard.score_many([row.pair for row in (harmful, harmless)])
        alone = guard.score(harmful.prompt)
    assert scores[0] > 0.9
    assert scores[1] < 0.1
    assert 0.4 < alone < 0.6


def test_some_sets_give_no_mean(sets: Path, word_bundle: Path) -> None:
    (sets / "wildguard_test.csv").unlink()
    _, report = evaluate_rows(word_bundle, load_suite(sets), threshold="0.5")
    assert "3 of the paper's 4 sets are here: no mean" in table(report)


DAMAGED = gzip.compress(b"{}\n" * 1000)[:12] + b"\xff" * 20


def _lines(rows: list[dict[str, Any]]) -> Write:
    return lambda path: path.write_text("".join(json.dumps(r) + "\n" for r in rows))


@pytest.mark.parametrize(
    ("name", "write", "match"),
    [
        ("samples-1680.jsonl", _lines([{"prompt": "a"}]), r"record 1: no field 'S/H/V"),
        ("samples-1680.jsonl", _lines([{"prompt": "a", "X": 1}]), "unknown field"),
        ("samples-1680.jsonl", _lines([{"prompt": "a", "S": 2}]), "S is neither 0 nor 1"),
        ("samples-1680.jsonl", _lines([{"S": 1}]), "no field 'prompt'"),
        ("samples-1680.jsonl", _lines([{"prompt": "", "S": 1}]), "an empty prompt"),
        ("samples-1680.jsonl", lambda p: p.write_text("[1]\n"), "a JSON array"),
        ("samples-1680.jsonl", lambda p: p.write_text("{"), "line 1: not JSON at column 2"),
        ("samples-1680.jsonl", lambda p: p.write_text("\n"), "holds no labelled records"),
        ("samples-1680.jsonl.gz", lambda p: p.write_text("{}"), "likely truncated"),
        (
            "samples-1680.jsonl.gz",
            lambda p: p.write_bytes(DAMAGED),
            r"unreadable as gzip \(Error -3",
        ),
        ("samples-1680.jsonl", _lines([{"prompt": "\ud800", "S": 1}]), "record 1: .*surrogates"),
        ("xstest_prompts.csv", lambda p: p.write_bytes(b"prompt\n\xe9\n"), "line 2: not UTF-8"),
        (
            "xstest_prompts.csv",
            lambda p: p.write_text('prompt,label\n"a,safe\n'),
            "after line 1: unexpected end of data",
        ),
        ("text_behaviors_val_set.json", lambda p: p.write_text("[" * 100_000), "RecursionError"),
        (
            "toxic-chat_annotation_test.csv",
            lambda p: write_csv(p, [{"user_input": "a", "jailbreaking": 0}]),
            "no field 'toxicity'",
        ),
        (
            "toxic-chat_annotation_test.json",
            lambda p: p.write_text('[{"toxicity": 1, "user_input": 5}]'),
            "a text is no string",
        ),
        (
            "text_behaviors_val_set.json",
            lambda p: p.write_text('{"a": [{"test_case": "x", "generation": "y", "human_0": 1}]}'),
            "no field 'human_1'",
        ),
        ("text_behaviors_val_set.json", lambda p: p.write_text('{"a": 5}'), "another format"),
        (
            "wildguard_test.jsonl",
            _lines([{"prompt": "x", "response": "y", "response_harm_label": "bad"}]),
            "response_harm_label is none of",
        ),
        ("xstest_prompts.csv", lambda p: write_csv(p, [{"prompt": "x"}]), "no field 'label'"),
        (
            "xstest_prompts.csv",
            lambda p: write_csv(p, [{"prompt": "x", "label": "maybe"}]),
            "label is none of",
        ),
    ],
)
def test_a_file_of_another_shape_is_refused(
    tmp_path: Path, name: str, write: Write, match: str
) -> None:
    write(tmp_path / name)
    with pytest.raises(DataError, match=match):
        load_suite(tmp_path)


def test_no_file_at_all(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds none of the suite's files"):
        load_suite(tmp_path)


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "wildguard_test.parquet"
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        path.touch()
        with pytest.raises(MissingExtraError, match=r"pip install 'harmguard\[train,scale\]'"):
            load_suite(tmp_path)
        return
    rows = [*WILDGUARD[:2], {**WILDGUARD[2], "response_harm_label": None}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    ((_, found),) = load_suite(tmp_path)
    assert [row.label for row in found] == [1, 0]


def test_the_command(sets: Path, word_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", str(word_bundle), "--suite", "harmaug", "--data", str(sets)]) == 0
    assert "| harmbench | 3 | 1.0000 | 1.0000 | .8331 | .8551 |" in capsys.readouterr().out
    for wrong in ([], ["--suite", "harmaug"], ["--data", "x"], ["x", "--suite", "harmaug"]):
        assert main(["eval", str(word_bundle), *wrong]) == 2
        assert "expected files, or --suite with --data" in capsys.readouterr().err
    suite = ["--suite", "harmaug", "--data", str(sets), "--threshold", "0.5"]
    assert main(["eval", str(word_bundle), *suite]) == 2
    assert "--threshold is for files; --suite is at .5" in capsys.readouterr().err
