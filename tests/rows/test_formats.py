from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmguard.errors import DataError
from harmguard.rows import read_rows
from harmguard.rows.formats import json_object, read_records, text_of

LINE = b'{"prompt": "a"}\n'
PACKED = gzip.compress(LINE, mtime=0)  # the time of day is in it otherwise
PACKED_TWICE = gzip.compress(PACKED, mtime=0)


def fields(path: Path, data: bytes) -> list[dict[str, object]]:
    path.write_bytes(data)
    return [dict(record.fields) for record in read_records(path)]


@pytest.mark.parametrize("name", ["r.jsonl", "r.JSONL", "r.jsonl.gz", "r.csv", "r.csv.gz"])
def test_a_byte_order_mark_is_skipped(tmp_path: Path, name: str) -> None:
    data = b"\xef\xbb\xbf" + (b"prompt\na\n" if ".csv" in name else LINE)
    assert fields(tmp_path / name, gzip.compress(data, mtime=0) if "gz" in name else data) == [
        {"prompt": "a"}
    ]


def test_windows_line_ends_and_separators_inside_texts(tmp_path: Path) -> None:
    text = "a\u2028b\u0085c"
    line = json.dumps({"prompt": text}, ensure_ascii=False).encode() + b"\r\n"
    assert fields(tmp_path / "r.jsonl", line * 2) == [{"prompt": text}] * 2
    assert fields(tmp_path / "r.csv", b'prompt,label\r\n"a\r\nb",1\r\n') == [
        {"prompt": "a\r\nb", "label": "1"}
    ]


@pytest.mark.parametrize(
    ("name", "data", "match"),
    [
        ("r.jsonl", PACKED, "gzip under another name; expected a name that ends in"),
        ("r.csv", b"PAR1....", "Parquet under another name; expected a name that ends in .parquet"),
        ("r.csv", b"PK\x03\x04..", "a zip archive; .*spreadsheet's own file: save it as CSV UTF-8"),
        ("r.jsonl", b"version https://git-lfs.github.com/spec/v1\n", "a git-lfs pointer; .*pull"),
        ("r.jsonl.gz", b"version https://git-lfs.github.com/spec/v1\n", "a git-lfs pointer"),
        ("r.jsonl.gz", PACKED_TWICE, "gzip under another name"),
        ("r.jsonl.gz", LINE, r"unreadable as gzip \(BadGzipFile\); .* a plain file under this"),
        ("r.jsonl.gz", gzip.compress(LINE * 999, mtime=0)[:40], r"unreadable as gzip \(EOFError\)"),
        ("r.jsonl.gz", PACKED[:10] + b"\xff" * 20, r"unreadable as gzip \(Error -3"),
        ("r.jsonl", LINE.decode().encode("utf-16"), "UTF-16 or UTF-32; expected UTF-8"),
        ("r.csv", "prompt\na\n".encode("utf-16-be"), "UTF-16 or UTF-32; expected UTF-8"),
        ("r.csv", "prompt\na\n".encode("utf-32"), "UTF-16 or UTF-32; expected UTF-8"),
        ("r.csv", b"prompt\nok\ncaf\xe9\n", "r.csv, line 3: not UTF-8; expected UTF-8"),
        ("r.jsonl", LINE + b'{"prompt": "\xe9"}\n', "r.jsonl, line 2: not UTF-8"),
        ("r.jsonl", b' [{"prompt": "a"}]', "a JSON array; expected JSON Lines, an object on each"),
        ("r.jsonl", b"[" * 100_000, "a JSON array; expected JSON Lines"),
        ("r.jsonl", LINE + b"[1]\n", "line 2: a JSON array; expected one object a line"),
        ("r.jsonl", LINE + b"5\n", "line 2: a int; expected one object a line"),
        ("r.jsonl", b'{"prompt": ', r"line 1: not JSON at column \d+; expected one object"),
        ("r.jsonl", b'{"a": ' + b"[" * 100_000, "line 1: nested too deeply; expected one object"),
        ("r.csv", b"a;b\n1;2\n", "columns stand between semicolons; .*found a, b"),
        ("r.csv", b"sep=;\nprompt;label\n", "columns stand between semicolons"),
        ("r.csv", b'"prompt";"label"\n"a";1\n', "between semicolons; expected commas; likely sav"),
        ("r.csv", b"prompt\tlabel\na\t1\n", "columns stand between tabs; expected commas"),
        ("r.csv", b"prompt,label\na\n", "line 2: 1 fields; expected 2, as in the first line"),
        ("r.csv", b"prompt,label\na,b,1\n", "line 2: 3 fields; expected 2, .*without quotation"),
        ("r.csv", b'prompt,label\n"a\nb",1\nc\n', "line 4: 1 fields; expected 2"),
        ("r.csv", b'prompt,label\n"a,1\nb,0\n', "after line 1: unexpected end of data; .*closed"),
        ("r.csv", b'prompt,label\n"a"b,1\n', "after line 1: .* expected CSV; likely quotation"),
        ("r.csv", b"prompt,label,label\na,1,1\n", "several columns named label; expected each"),
        ("r.txt", b"x", r"r.txt: unknown kind of file; expected \.jsonl"),
        ("r.json", b'{"a": 5}', r"unreadable as JSON \(TypeError\); expected a list of objects"),
        ("r.json", b"[" * 100_000, r"unreadable as JSON \(RecursionError\)"),
        ("r.json", b"[1]", "record 1: a int; expected an object"),
    ],
)  # fmt: skip
def test_each_damage_has_its_name(tmp_path: Path, name: str, data: bytes, match: str) -> None:
    with pytest.raises(DataError, match=match) as raised:
        fields(tmp_path / name, data)
    assert "caf" not in str(raised.value)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no data file named absent.jsonl; expected \.jsonl"):
        read_records(tmp_path / "absent.jsonl")


def test_csv_fields_may_be_as_long_as_texts(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    (found,) = fields(tmp_path / "r.csv", b"prompt,label\n" + b"a" * 500_000 + b",1\n")
    assert len(str(found["prompt"])) == 500_000
    assert csv.field_size_limit() == before


def test_blank_lines_and_unnamed_columns_of_a_spreadsheet(tmp_path: Path) -> None:
    data = b"prompt,label,,\na,1,,\n,,,\n\nb,0,,note\n"
    found = fields(tmp_path / "r.csv", data)
    assert [(f["prompt"], f["label"]) for f in found] == [("a", "1"), ("b", "0")]


def test_lists_of_records_by_name(tmp_path: Path) -> None:
    found = fields(tmp_path / "r.json", b'{"one": [{"a": 1}], "two": [{"a": 2}, {"a": 3}]}')
    assert [f["a"] for f in found] == [1, 2, 3]


def test_what_nobody_reads_may_be_anything() -> None:
    found = json_object(
        '{"prompt": "a", "x": NaN, "y": 1' + "0" * 5000 + ', "z": {"a": 1, "a": 2}}'
    )
    assert found["prompt"] == "a"
    assert found.twice == frozenset()


def test_text_of_names_what_it_was_given() -> None:
    with pytest.raises(DataError, match=r"^the line: UTF-16"):
        text_of("{}".encode("utf-16"), "the line")


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))


@given(st.lists(st.tuples(TEXTS.filter(bool), TEXTS), min_size=1))
def test_any_texts_survive_csv(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]]
) -> None:
    path = tmp_path_factory.mktemp("rows") / "r.csv"
    file = io.StringIO(newline="")
    csv.writer(file).writerows([("prompt", "response"), *pairs])
    path.write_bytes(file.getvalue().encode())
    assert [row.pair for row in read_rows(path)] == [(p, r or None) for p, r in pairs]
