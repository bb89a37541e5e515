"""Files -> records: JSON Lines and CSV, plain or gzip, and Parquet, each damage under its name.

Texts are UTF-8, with or without a byte order mark. What a field holds is checked by who reads it:
a NaN or a huge number in a field that nobody reads is no error.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from harmguard.errors import DataError
from harmguard.extras import require
from harmguard.rows.names import listed

FORMATS = ".jsonl, .csv (both also .gz) or .parquet"
MAX_FIELD = 16_000_000
"""Characters of a CSV field, and bytes of a line of JSON in a stream."""
MAX_DIGITS = 20
_BOM = b"\xef\xbb\xbf"
_LFS = b"version https://git-lfs"
# First bytes -> what the file is, and what to do about it.
_FOREIGN = (
    (b"\x1f\x8b", "gzip under another name", "a name that ends in .gz"),
    (b"PAR1", "Parquet under another name", "a name that ends in .parquet"),
    (b"PK\x03\x04", "a zip archive", "text; likely a spreadsheet's own file: save it as CSV UTF-8"),
    (_LFS, "a git-lfs pointer", "the file itself: type git lfs pull"),
)
_WIDE = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}


class Record(NamedTuple):
    """One record: where it begins (a line; in Parquet and JSON its number), and its fields."""

    line: int
    fields: Mapping[str, Any]
    names: frozenset[str]
    """Of all columns; in CSV also those whose cell is empty."""


class Object(dict[str, Any]):
    """A JSON object that knows which of its keys stood there more than once."""

    twice: frozenset[str] = frozenset()


def read_records(path: Path) -> list[Record]:
    """The records of a file, in order; in CSV an empty cell is no field.

    A `.json` file holds a list of objects, or, as HarmBench has it, lists of them by name.
    Raises DataError for a file that is missing, damaged or of another kind, MissingExtraError for
    Parquet without pyarrow.
    """
    name = path.name.lower()
    kind = name.removesuffix(".gz").rpartition(".")[2]
    if not path.is_file():
        raise DataError(f"no data file named {path.name}; expected {FORMATS}")
    if kind == "parquet":
        values = _parquet(path)
        return [Record(i, value, frozenset(value)) for i, value in enumerate(values, 1)]
    if kind not in ("jsonl", "csv", "json"):
        raise DataError(f"{path.name}: unknown kind of file; expected {FORMATS}")
    data = path.read_bytes()
    text = text_of(_unpacked(data, path.name) if name.endswith(".gz") else data, path.name)
    if kind == "csv":
        return _csv(text, path.name)
    return list(_json_lines(text, path.name) if kind == "jsonl" else _json(text, path.name))


def parquet(name: str) -> tuple[Any, Any]:
    """The modules pyarrow and pyarrow.parquet. Raises MissingExtraError naming file `name`."""
    require(name, "pyarrow", extra="train,scale")
    import pyarrow
    import pyarrow.parquet

    return pyarrow, pyarrow.parquet


def text_of(data: bytes, name: str) -> str:
    """The text in UTF-8 `data`, without its byte order mark. Raises DataError that begins so."""
    for magic, found, expected in _FOREIGN:
        if data.startswith(magic):
            raise DataError(f"{name}: {found}; expected {expected}")
    if data.startswith(_WIDE) or b"\0" in data[:64]:
        raise DataError(f"{name}: UTF-16 or UTF-32; expected UTF-8: save it again in that encoding")
    try:
        return data.removeprefix(_BOM).decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{name}, line {line}: not UTF-8; expected UTF-8; likely truncated, or an older "
            "encoding of a spreadsheet: save it as CSV UTF-8"
        ) from None


def json_object(text: str) -> Object:
    """The object in a line of JSON.

    Raises ValueError that says what was found and expected, never the text itself.
    """
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_int=_integer)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON at column {error.colno}; expected one object a line") from None
    except RecursionError:
        raise ValueError("nested too deeply; expected one object a line") from None
    if not isinstance(value, Object):
        kind = "JSON array" if isinstance(value, list) else type(value).__name__
        raise ValueError(f"a {kind}; expected one object a line")
    return value


def _object(pairs: list[tuple[str, Any]]) -> Object:
    found = Object(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        found.twice = frozenset(name for name in found if names.count(name) > 1)
    return found


def _integer(digits: str) -> int | str:
    # Long numbers take quadratic time, and Python refuses the longest.
    return int(digits) if len(digits) <= MAX_DIGITS else digits


def _unpacked(data: bytes, name: str) -> bytes:
    if data.startswith(_LFS):
        text_of(data, name)
    try:
        return gzip.decompress(data)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        # zlib's own says what went wrong in its message alone.
        cause = error if isinstance(error, zlib.error) else type(error).__name__
        raise DataError(
            f"{name}: unreadable as gzip ({cause}); expected a whole .gz file; "
            "likely truncated, damaged, or a plain file under this name"
        ) from None


def _json_lines(text: str, name: str) -> Iterator[Record]:
    start = text.lstrip()[:1]
    if start == "[":
        raise DataError(
            f"{name}: a JSON array; expected JSON Lines, an object on each line; likely a .json "
            "file under this name: write its elements line by line"
        )
    for number, line in enumerate(text.split("\n"), 1):  # a text may hold U+2028: no splitlines
        if line.strip():
            try:
                value = json_object(line)
            except ValueError as error:
                raise DataError(f"{name}, line {number}: {error}") from None
            yield Record(number, value, frozenset(value))


def _json(text: str, name: str) -> Iterator[Record]:
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_int=_integer)
        if isinstance(value, dict):
            value = [record for records in value.values() for record in records]
    except (ValueError, TypeError, RecursionError) as error:
        raise DataError(
            f"{name}: unreadable as JSON ({type(error).__name__}); expected a list of objects; "
            "likely truncated or another format"
        ) from None
    for number, fields in enumerate(value if isinstance(value, list) else [value], 1):
        if not isinstance(fields, Object):
            raise DataError(
                f"{name}, record {number}: a {type(fields).__name__}; expected an object"
            )
        yield Record(number, fields, frozenset(fields))


def _csv(text: str, name: str) -> list[Record]:
    _check_separator(text.partition("\n")[0], name)
    before = csv.field_size_limit(MAX_FIELD)
    records: list[Record] = []
    begin = 1
    try:
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        columns = next(reader, [])
        names = _columns(columns, name)
        for begin, cells in _numbered(reader):
            if len(cells) != len(columns):
                raise DataError(
                    f"{name}, line {begin}: {len(cells)} fields; expected {len(columns)}, as in "
                    "the first line; likely a comma or a quotation mark in a text without "
                    "quotation marks around it"
                )
            fields = {key: cell for key, cell in zip(columns, cells, strict=True) if cell}
            records.append(Record(begin, fields, names))
    except csv.Error as error:
        raise DataError(
            f"{name}, in the record after line {begin}: {error}; expected CSV; likely quotation "
            'marks in a text that are not doubled ("") or not closed'
        ) from None
    finally:
        csv.field_size_limit(before)
    return records


def _numbered(reader: Any) -> Iterator[tuple[int, Sequence[str]]]:
    """Records with the line that they begin on; lines of nothing but commas are blank."""
    begin = reader.line_num + 1
    for cells in reader:
        if any(cells):
            yield begin, cells
        begin = reader.line_num + 1


def _columns(columns: Sequence[str], name: str) -> frozenset[str]:
    doubled = sorted({column for column in columns if column and columns.count(column) > 1})
    if doubled:
        raise DataError(f"{name}: several columns named {listed(doubled)}; expected each once")
    return frozenset(columns)


def _check_separator(header: str, name: str) -> None:
    """Refuse a header that has columns between something else than commas."""
    for separator, called in _SEPARATORS.items():
        columns = next(csv.reader([header], delimiter=separator), [])
        known = [column.strip().lower() for column in columns]
        if len(columns) > 1 and ("prompt" in known or "," not in header):
            raise DataError(
                f"{name}: the columns stand between {called}; expected commas; likely saved by a "
                "spreadsheet in a language with decimal commas: save it as CSV with commas; "
                f"found {listed(columns)}"
            )


def _parquet(path: Path) -> list[dict[str, Any]]:
    arrow, files = parquet(path.name)
    try:
        found: list[dict[str, Any]] = files.read_table(path).to_pylist()
    except (arrow.ArrowException, OSError) as error:
        raise DataError(
            f"{path.name}: unreadable ({type(error).__name__}); likely truncated or no Parquet file"
        ) from None
    return found
