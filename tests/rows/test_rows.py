from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmguard.core.files import sha256_of
from harmguard.errors import DataError, InputError, InputTypeError
from harmguard.rows import pair_of_line, read_rows


def _write(path: Path, *values: object) -> Path:
    text = "".join(json.dumps(value) + "\n" for value in values)
    if path.name.endswith(".gz"):
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
def test_reads_every_field(tmp_path: Path, name: str) -> None:
    value = {
        "id": "x", "prompt": "a", "response": "b", "label": 1, "soft": 0.7, "source": "s",
        "tier": "B", "licence": "permissive", "task": "response", "weight": 2,
    }  # fmt: skip
    (row,) = read_rows(_write(tmp_path / name, value))
    assert row.pair == ("a", "b")
    assert (row.kind, row.hard, row.soft, row.tier, row.weight) == ("exchange", 1, 0.7, "B", 2.0)


def test_reads_csv_with_a_comma_and_a_line_break_in_a_field(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('prompt,response,label\n"a, b","c\nd",0\ne,,1\n', encoding="utf-8")
    first, second = read_rows(path)
    assert first.pair == ("a, b", "c\nd")
    assert second.pair == ("e", None)
    assert [first.label, second.label] == [0, 1]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({}, None),
        ({"response": None}, None),
        ({"response": ""}, ""),
        ({"response": "x"}, "x"),
        ({"task": "prompt", "response": ""}, None),
        ({"task": "prompt", "response": "x"}, None),
        ({"task": "response", "response": ""}, ""),
        ({"task": "", "response": ""}, ""),
        ({"task": None, "response": "x"}, "x"),
    ],
)
def test_null_is_a_prompt_alone_and_the_task_decides(
    tmp_path: Path, value: dict[str, object], expected: str | None
) -> None:
    value = {"prompt": "a", **value}
    (row,) = read_rows(_write(tmp_path / "r.jsonl", value))
    assert row.response == expected
    # One line of a stream is read by the same rules.
    assert pair_of_line(json.dumps(value).encode()) == ("a", expected)


@pytest.mark.parametrize(
    ("line", "expected"),
    [("a,,", None), ("a,,prompt", None), ("a,x,prompt", None), ("a,,response", ""), ("a,x,", "x")],
)
def test_an_empty_cell_is_a_prompt_alone_unless_the_task_says_otherwise(
    tmp_path: Path, line: str, expected: str | None
) -> None:
    path = tmp_path / "r.csv"
    path.write_text(f"prompt,response,task\n{line}\n", encoding="utf-8")
    assert read_rows(path)[0].response == expected


def test_the_hard_label_comes_from_the_soft_one_where_it_has_none(tmp_path: Path) -> None:
    path = _write(tmp_path / "r.jsonl", {"prompt": "a", "soft": 0.51}, {"prompt": "a", "soft": 0.5})
    assert [row.hard for row in read_rows(path)] == [1, 0]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"prompt": ""}, "line 1: prompt is missing or wrong; expected a non-empty string"),
        ({"prompt": 3}, "prompt is int; expected a non-empty string"),
        ({"prompt": "a", "response": 3}, "response is int; expected a string"),
        ({"prompt": "a", "label": 2}, "label is missing or wrong; expected 1"),
        ({"prompt": "a", "label": True}, "label is missing"),
        ({"prompt": "a", "label": "yes"}, "label is missing"),
        ({"prompt": "a", "soft": 1.5}, "soft is missing or wrong; expected a probability"),
        ({"prompt": "a", "weight": -1}, "weight is missing or wrong"),
        ({"prompt": "a", "task": "both"}, "task is missing or wrong"),
        ({"prompt": "a \ud800"}, "line 1: prompt is missing or wrong; expected valid Unicode"),
        (
            {"prompt": "a", "response": "\udfff", "label": 1},
            "response is .*lone surrogates",
        ),
        ({"prompt": "a", "id": "\ud800"}, "id is missing or wrong; expected valid Unicode"),
        ({"prompt": "a", "source": "\ud800"}, "source is missing or wrong; expected valid"),
        ({"prompt": "a", "weight": 10**400}, "weight is missing or wrong"),
        ([1], "r.jsonl: a JSON array; expected JSON Lines"),
    ],
)
def test_a_bad_row_is_named_by_its_line(tmp_path: Path, value: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_rows(_write(tmp_path / "r.jsonl", value))


@pytest.mark.parametrize(
    ("value", "match"),
    [
        ({"prompt": "a", "Response": "b"}, "a field 'Response'; expected 'response'; .*rename it"),
        ({"prompt": "a", " label": 1}, "a field ' label'; expected 'label'"),
        ({"text": "a", "label": 1}, "no column prompt; found label, text; expected prompt"),
        ({"prompt": "a", "task": "response"}, 'task is "response" and there is none'),
        ({"prompt": "a", "task": 5}, "task is missing or wrong; expected a string"),
        ({"prompt": "a", "id": ["x"]}, "id is missing or wrong; expected a string or a number"),
        ({"prompt": "a", "source": 7}, "source is missing or wrong; expected a string"),
        ({"prompt": "a", "soft": float("nan")}, "soft is missing or wrong"),
        ({"prompt": "a", "label": float("inf")}, "label is missing or wrong"),
        ({"prompt": None}, "prompt is NoneType; expected a non-empty string"),
    ],
)
def test_more_bad_rows(tmp_path: Path, value: object, match: str) -> None:
    with pytest.raises(DataError, match=f"r.jsonl, line 1: {match}"):
        read_rows(_write(tmp_path / "r.jsonl", value))


def test_a_field_that_is_read_stands_once(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text('{"prompt": "a", "label": 0, "label": 1}\n', encoding="utf-8")
    with pytest.raises(DataError, match="line 1: the field label stands there twice"):
        read_rows(path)
    path.write_text('{"prompt": "a", "note": 0, "note": 1}\n', encoding="utf-8")
    assert len(read_rows(path)) == 1


def test_files_without_rows_or_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("\n", encoding="utf-8")
    with pytest.raises(DataError, match="holds no rows"):
        read_rows(tmp_path / "empty.jsonl")
    (tmp_path / "empty.csv").write_text("", encoding="utf-8")
    with pytest.raises(DataError, match="holds no rows"):
        read_rows(tmp_path / "empty.csv")
    (tmp_path / "r.json").write_text("[]", encoding="utf-8")
    with pytest.raises(DataError, match=r"r.json: unknown kind of file; expected JSON Lines"):
        read_rows(tmp_path / "r.json")


def test_a_missing_column_lists_those_that_are_there_but_no_text(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text("text,harm\na,1\n", encoding="utf-8")
    with pytest.raises(DataError, match="line 2: no column prompt; found harm, text; expected"):
        read_rows(path)
    path.write_text("How do I bake bread?,1\nsecret words,0\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"found 2 that look like texts.*without names") as e:
        read_rows(path)
    assert "bake" not in str(e.value)


def test_labels_that_are_needed(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text("prompt,harm\na,1\n", encoding="utf-8")
    with pytest.raises(DataError, match="no column label or soft; found harm, prompt; likely an u"):
        read_rows(path, need=("label", "soft"))
    path.write_text("prompt,label,soft\na,1,\nb,,.5\nc,,\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"1 of 3 rows have no label and no soft, .* on line 4"):
        read_rows(path, need=("label", "soft"))
    with pytest.raises(DataError, match="2 of 3 rows have no label, the first on line 3"):
        read_rows(path, need=("label",))


def test_an_id_may_be_a_number(tmp_path: Path) -> None:
    rows = read_rows(_write(tmp_path / "r.jsonl", *({"prompt": "a", "id": i} for i in (0, 7, ""))))
    assert [row.id for row in rows] == ["0", "7", "r.jsonl:3"]


@pytest.mark.parametrize(
    ("line", "kind", "match"),
    [
        (b"[1]", InputError, "a JSON array; expected one object"),
        (b"{", InputError, "not JSON at column"),
        (b'{"Prompt": "a"}', InputError, "a field 'Prompt'; expected 'prompt'"),
        (b'{"text": "a"}', InputError, "no column prompt; found text"),
        (b'{"prompt": 3}', InputTypeError, "prompt is int"),
        (b'{"prompt": "a", "response": 3}', InputTypeError, "response is int"),
        (b'{"prompt": "a", "task": "x"}', InputError, "task is missing or wrong"),
        (b'{"prompt": "\xe9"}', InputError, "not UTF-8"),
        (gzip.compress(b"{}", mtime=0), InputError, "gzip under another name"),
        ('{"prompt": "a"}'.encode("utf-16"), InputError, "UTF-16 or UTF-32"),
        (b" " * 16_000_001, InputError, "longer than 16,000,000 bytes"),
    ],
)
def test_bad_lines_of_a_stream(line: bytes, kind: type[InputError], match: str) -> None:
    with pytest.raises(kind, match=match) as raised:
        pair_of_line(line)
    assert type(raised.value) is kind


def test_a_stream_reads_the_pair_alone() -> None:
    line = b'\xef\xbb\xbf{"prompt": "a", "label": "?", "Label": NaN, "x": 1, "x": 2}'
    assert pair_of_line(line) == ("a", None)


@given(st.text(min_size=1).filter(lambda text: "\x00" not in text), st.text())
def test_any_text_survives_the_round_trip(
    tmp_path_factory: pytest.TempPathFactory, prompt: str, response: str
) -> None:
    path = tmp_path_factory.mktemp("rows") / "r.jsonl"
    (row,) = read_rows(_write(path, {"prompt": prompt, "response": response, "task": "response"}))
    assert row.pair == (prompt, response)


def test_sha256(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    assert sha256_of(tmp_path / "f").startswith("ba7816bf8f01cfea")


def test_parquet_gives_the_same_rows(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    files = pytest.importorskip("pyarrow.parquet")
    values = [
        {"prompt": "a", "soft": 0.25, "id": "x", "response": None},
        {"prompt": "b", "soft": None, "id": "y", "response": "c"},
    ]
    path = tmp_path / "r.parquet"
    files.write_table(pyarrow.Table.from_pylist(values), path)
    assert read_rows(path) == read_rows(_write(tmp_path / "r.jsonl", *values))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="likely truncated or no Parquet file"):
        read_rows(path)
