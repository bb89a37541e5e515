from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmguard.core.files import sha256_of
from harmguard.errors import DataError
from harmguard.training.data import read_rows


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
    ("task", "response", "expected"),
    [("prompt", "", None), ("", "", None), ("response", "", ""), ("prompt", "x", None),
     ("", "x", "x"), ("", None, None)],
)  # fmt: skip
def test_an_empty_response_is_none_unless_the_label_is_about_it(
    tmp_path: Path, task: str, response: str | None, expected: str | None
) -> None:
    value = {"prompt": "a", "response": response, "label": 0, "task": task}
    (row,) = read_rows(_write(tmp_path / "r.jsonl", value))
    assert row.response == expected


def test_the_hard_label_comes_from_the_soft_one_where_it_has_none(tmp_path: Path) -> None:
    path = _write(tmp_path / "r.jsonl", {"prompt": "a", "soft": 0.51}, {"prompt": "a", "soft": 0.5})
    assert [row.hard for row in read_rows(path)] == [1, 0]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"prompt": ""}, "line 1: prompt is missing or wrong; expected a non-empty string"),
        ({"prompt": 3}, "prompt is missing"),
        ({"prompt": "a", "response": 3}, "response is missing or wrong"),
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
        ([1], "line 1: a list; expected an object"),
    ],
)
def test_a_bad_row_is_named_by_its_line(tmp_path: Path, value: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_rows(_write(tmp_path / "r.jsonl", value))


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no data file named absent.jsonl"):
        read_rows(tmp_path / "absent.jsonl")
    (tmp_path / "rows.txt").write_text("x", encoding="utf-8")
    with pytest.raises(DataError, match=r"rows.txt: unknown kind of file"):
        read_rows(tmp_path / "rows.txt")
    (tmp_path / "empty.jsonl").write_text("\n", encoding="utf-8")
    with pytest.raises(DataError, match="holds no rows"):
        read_rows(tmp_path / "empty.jsonl")
    (tmp_path / "broken.jsonl").write_text('{"prompt": ', encoding="utf-8")
    with pytest.raises(DataError, match=r"line 1: not JSON at column \d+"):
        read_rows(tmp_path / "broken.jsonl")
    whole = gzip.compress(b'{"prompt": "a"}\n' * 1000)
    (tmp_path / "cut.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"unreadable \(EOFError\); likely truncated"):
        read_rows(tmp_path / "cut.jsonl.gz")
    damaged = bytearray(whole)
    damaged[12:20] = b"\xff" * 8
    (tmp_path / "damaged.jsonl.gz").write_bytes(damaged)
    with pytest.raises(DataError, match=r"unreadable \(Error -3 .*damaged or not UTF-8"):
        read_rows(tmp_path / "damaged.jsonl.gz")
    (tmp_path / "digits.jsonl").write_text('{"prompt": "a", "label": 1' + "0" * 5000 + "}")
    with pytest.raises(DataError, match=r"line 1: unreadable \(ValueError\); expected one object"):
        read_rows(tmp_path / "digits.jsonl")
    (tmp_path / "deep.jsonl").write_text("[" * 100_000)
    with pytest.raises(DataError, match=r"line 1: unreadable \(RecursionError\)"):
        read_rows(tmp_path / "deep.jsonl")


@pytest.mark.parametrize("name", ["r.csv", "r.jsonl"])
def test_a_file_in_another_encoding_is_named_and_not_quoted(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes("prompt,label\ncaf\u00e9,1\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"unreadable \(UnicodeDecodeError\).*UTF-8$") as raised:
        read_rows(tmp_path / name)
    assert "caf" not in str(raised.value)


def test_a_field_that_csv_refuses_is_named(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text(f"prompt,label\n{'a' * 131_073},1\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"r.csv: unreadable \(field larger than field limit"):
        read_rows(tmp_path / "r.csv")


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
