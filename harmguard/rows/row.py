"""Records -> `Row`: what each field may hold, and whether a row is a prompt alone or an exchange.

A row needs `prompt`; everything else is optional: `response`, `label` (1 harmful, 0 not),
`soft` (a teacher's P(harmful)), `source`, `tier` (A, B or C: label quality), `licence`, `lang`,
`task` ("prompt": the row is about the prompt alone, "response": about the exchange), `weight`,
and `id`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harmguard.errors import DataError, InputError, InputTypeError
from harmguard.inputs import Kind, Pair, kind_of
from harmguard.rows.formats import MAX_FIELD, Object, Record, json_object, read_records, text_of
from harmguard.rows.names import KNOWN, PAIR, listed, nearly

_SURROGATE = re.compile("[\ud800-\udfff]")
_NAMES = ("source", "tier", "licence", "lang")
_DEFAULTS = {"source": "unknown", "tier": "A", "licence": "unknown", "lang": ""}


@dataclass(frozen=True)
class Row:
    """One labelled pair; `response` None means a prompt alone, `label` None no hard label."""

    id: str
    prompt: str
    response: str | None
    label: int | None
    soft: float | None = None
    source: str = "unknown"
    tier: str = "A"
    licence: str = "unknown"
    lang: str = ""  # such as "de", where it is known
    task: str = ""
    weight: float = 1.0

    @property
    def kind(self) -> Kind:
        """What the label is about: a prompt alone or an exchange."""
        return kind_of(self.response)

    @property
    def pair(self) -> Pair:
        """The texts as the guard takes them."""
        return self.prompt, self.response

    @property
    def hard(self) -> int | None:
        """The hard label: the row's own, else the soft one above .5 (HarmAug, section 3)."""
        if self.label is not None or self.soft is None:
            return self.label
        return int(self.soft > 0.5)


class _FieldError(ValueError):
    """A field that cannot be used; `odd_type` says that its type is at fault."""

    def __init__(self, message: str, *, odd_type: bool = False) -> None:
        super().__init__(message)
        self.odd_type = odd_type


def read_rows(path: Path, *, need: Sequence[str] = ()) -> list[Row]:
    """All rows of a `.jsonl`, `.csv` (both also `.gz`) or `.parquet` file, in order.

    A missing or null `response` is a prompt alone, "" an empty response; in CSV an empty cell is a
    prompt alone. `task` decides where it is given. Of the fields in `need` every row has at least
    one. Raises DataError with the line number (Parquet: the row's) for anything that cannot be
    read as a row, or for a damaged file, MissingExtraError for Parquet without pyarrow.
    """
    if path.name.lower().removesuffix(".gz").endswith(".json"):
        raise DataError(f"{path.name}: unknown kind of file; expected JSON Lines, .jsonl")
    records = read_records(path)
    blank = ".csv" in path.name.lower()
    if not records:
        raise DataError(f"{path.name} holds no rows; expected at least one")
    rows = []
    for record in records:
        try:
            rows.append(_row(record, path.name, blank))
        except _FieldError as error:
            raise DataError(f"{path.name}, line {record.line}: {error}") from None
    _check_need(rows, records, need, path.name)
    return rows


def pair_of_line(line: bytes) -> Pair:
    """The texts of one line of JSON Lines, by the rules of `read_rows`.

    Raises InputError, or InputTypeError, that says what was found and expected.
    """
    if len(line) > MAX_FIELD:
        raise InputError(f"longer than {MAX_FIELD:,} bytes; likely not JSONL")
    try:
        fields = json_object(text_of(line, "the line"))
        return _pair(Record(1, fields, frozenset(fields)), blank=False, known=PAIR)
    except (DataError, ValueError) as error:
        kind = InputTypeError if getattr(error, "odd_type", False) else InputError
        raise kind(str(error)) from None


def has_surrogate(text: str) -> bool:
    """Whether half of a character stands alone in it: such a text cannot be written as UTF-8."""
    return _SURROGATE.search(text) is not None


def _row(record: Record, name: str, blank: bool) -> Row:
    prompt, response = _pair(record, blank=blank, known=KNOWN)
    fields = record.fields
    if not prompt:
        raise _wrong("prompt", "a non-empty string")
    for field, text in (("prompt", prompt), ("response", response)):
        if has_surrogate(text or ""):
            raise _wrong(field, "valid Unicode, without lone surrogates; likely cut in a character")
    label, soft, weight = _numbers(fields)
    named = {key: _text(fields, key) or _DEFAULTS[key] for key in _NAMES}
    id_ = fields.get("id")
    if isinstance(id_, int | float) and not isinstance(id_, bool):
        id_ = str(id_)
    if not isinstance(id_, str | None):
        raise _wrong("id", "a string or a number")
    if has_surrogate(id_ or ""):
        raise _wrong("id", "valid Unicode, without lone surrogates")
    return Row(
        id=id_ or f"{name}:{record.line}",
        prompt=prompt,
        response=response,
        label=label,
        soft=soft,
        task=_text(fields, "task"),
        weight=weight,
        **named,
    )


def _pair(record: Record, *, blank: bool, known: tuple[str, ...]) -> Pair:
    """The texts, the prompt perhaps empty; `blank`: an absent response may be an empty cell."""
    fields = record.fields
    if near := nearly(record.names, known):
        found, wanted = near
        raise _FieldError(f"a field {found!a}; expected {wanted!a}; likely misspelt: rename it")
    if isinstance(fields, Object) and (twice := sorted(fields.twice.intersection(known))):
        raise _FieldError(f"the field {twice[0]} stands there twice; expected each once")
    if "prompt" not in record.names:
        raise _FieldError(
            f"no column prompt; found {listed(sorted(record.names))}; expected prompt, response, "
            "label; likely a first line without names, or other names"
        )
    prompt, response = fields.get("prompt"), fields.get("response")
    if not isinstance(prompt, str) and "prompt" in fields:
        raise _FieldError(
            f"prompt is {type(prompt).__name__}; expected a non-empty string", odd_type=True
        )
    if not isinstance(response, str | None):
        raise _FieldError(
            f'response is {type(response).__name__}; expected a string, "" or null', odd_type=True
        )
    task = _text(fields, "task")
    if task not in ("", "prompt", "response"):
        raise _wrong("task", '"prompt" or "response"')
    if task == "response" and response is None:
        if not blank:
            raise _FieldError(
                'task is "response" and there is none; expected a string, "" for an empty response'
            )
        response = ""
    return prompt or "", None if task == "prompt" else response


def _text(fields: Mapping[str, Any], field: str) -> str:
    value = fields.get(field)
    if not isinstance(value, str | None):
        raise _wrong(field, "a string")
    if has_surrogate(value or ""):
        raise _wrong(field, "valid Unicode, without lone surrogates")
    return value or ""


def _numbers(fields: Mapping[str, Any]) -> tuple[int | None, float | None, float]:
    label, soft, weight = (_number(fields.get(key)) for key in ("label", "soft", "weight"))
    if label not in (None, 0.0, 1.0):
        raise _wrong("label", "1 (harmful), 0 (not) or absent")
    if soft is not None and not 0.0 <= soft <= 1.0:
        raise _wrong("soft", "a probability in [0, 1] or absent")
    if weight is not None and not 0.0 <= weight < math.inf:
        raise _wrong("weight", "a number of at least 0")
    return None if label is None else int(label), soft, 1.0 if weight is None else weight


def _number(value: Any) -> float | None:
    """A number or numeric string as a float; None for absent; NaN (so refused) for the rest."""
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return math.nan
    try:
        return float(value)
    except (ValueError, OverflowError):
        return math.nan


def _wrong(field: str, expected: str) -> _FieldError:
    return _FieldError(f"{field} is missing or wrong; expected {expected}")


def _check_need(
    rows: Sequence[Row], records: Sequence[Record], need: Sequence[str], name: str
) -> None:
    if not need:
        return
    bare = [i for i, row in enumerate(rows) if all(getattr(row, field) is None for field in need)]
    if not bare:
        return
    if not any(record.names.intersection(need) for record in records):
        found = listed(sorted({column for record in records for column in record.names}))
        raise DataError(
            f"{name}: no column {' or '.join(need)}; found {found}; likely an unlabelled file"
        )
    raise DataError(
        f"{name}: {len(bare)} of {len(rows)} rows have no {' and no '.join(need)}, the first on "
        f"line {records[bare[0]].line}; expected one in every row"
    )
