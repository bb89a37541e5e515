"""Rows of several files: ids that differ, and files that do not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harmguard.errors import DataError
from harmguard.rows import Row, read_rows
from harmguard.training.stage_inputs import as_item, described, read_inputs


def _write(path: Path, *rows: dict[str, Any]) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps({"prompt": "a", **row}) + "\n" for row in rows))
    return path


def test_one_file_and_files_of_other_names_keep_their_ids(tmp_path: Path) -> None:
    one = _write(tmp_path / "one.jsonl", {}, {"id": "x"})
    two = _write(tmp_path / "two.jsonl", {}, {"id": "y"})
    parts = read_inputs([one, two])
    assert [[r.id for r in p] for p in parts] == [["one.jsonl:1", "x"], ["two.jsonl:1", "y"]]


def test_files_of_one_name_get_ids_that_differ_in_any_order(tmp_path: Path) -> None:
    one = _write(tmp_path / "a" / "train.jsonl", {}, {"prompt": "b"}, {"id": "x"})
    two = _write(tmp_path / "b" / "train.jsonl", {"label": 1}, {"id": "y"})
    first, second = ([row.id for row in part] for part in read_inputs([one, two]))
    marks = [file["sha256"][:8] for file in described([str(one), str(two)])]
    assert first == [f"train.jsonl:1@{marks[0]}", "train.jsonl:2", "x"]
    assert second == [f"train.jsonl:1@{marks[1]}", "y"]
    assert [[r.id for r in part] for part in read_inputs([two, one])] == [second, first]


def test_the_same_file_twice_is_known_by_its_bytes(tmp_path: Path) -> None:
    one = _write(tmp_path / "one.jsonl", {"id": "x"})
    two = _write(tmp_path / "two.jsonl", {"id": "x"})
    with pytest.raises(DataError, match=r"two.jsonl holds the same bytes as one.jsonl; expected"):
        read_inputs([one, two])


def test_an_id_that_files_give_twice_is_refused(tmp_path: Path) -> None:
    one = _write(tmp_path / "a" / "r.jsonl", {"id": "x"})
    two = _write(tmp_path / "b" / "r.jsonl", {"id": "x", "label": 1})
    with pytest.raises(DataError, match="1 ids stand on several of 2 rows; expected one id"):
        read_inputs([one, two])


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no data file named absent.jsonl"):
        read_inputs([tmp_path / "absent.jsonl"])


def test_a_row_s_line_is_read_back_whole(tmp_path: Path) -> None:
    rows = [
        Row("a", "one", "two", 1, soft=0.7, source="s", tier="B", licence="permissive", lang="de"),
        Row("b", "one", None, None, soft=0.2),
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(as_item(row)) + "\n" for row in rows))
    again = read_rows(path)
    assert [replace(row, task="") for row in again] == [replace(row, task="") for row in rows]
