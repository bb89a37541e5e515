"""Strict, bounded JSON: what a bundle's manifest and the rows of JSONL files are read with."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any

from harmguard.errors import ManifestError

MANIFEST = "guard.json"
MAX_DEPTH = 16


def parse(data: bytes, max_bytes: int) -> Any:
    """The value in `data`: UTF-8 JSON without duplicate keys, NaN or infinities.

    Raises ValueError that says what was found and expected, never the text itself.
    """
    if len(data) > max_bytes:
        raise ValueError(f"{len(data):,} bytes; expected at most {max_bytes:,}")
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_no_duplicates,
            parse_constant=_no_constant,
            parse_float=_finite,
            parse_int=_integer,
        )
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is not UTF-8; expected JSON in UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(
            f"not JSON at character {error.pos} ({error.msg}); expected one JSON value"
        ) from None
    except RecursionError:
        raise ValueError(f"nested too deeply; expected at most {MAX_DEPTH} levels") from None
    _check_depth(value)
    return value


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object holds the same key twice; expected each key once")
    return found


def _no_constant(name: str) -> float:
    raise ValueError(f"holds {name}; expected finite numbers")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError("holds a number beyond the range of a double; expected finite numbers")
    return value


def _integer(digits: str) -> int:
    # Readers in other languages have 64 bits, and long ones take quadratic time.
    if len(digits) > 20:
        raise ValueError(f"holds a number of {len(digits):,} digits; expected at most 20")
    return int(digits)


def _check_depth(value: Any) -> None:
    level, depth = [value], 0
    while level := [item for item in level if isinstance(item, (dict, list))]:
        depth += 1
        if depth > MAX_DEPTH:
            raise ValueError(f"nested too deeply; expected at most {MAX_DEPTH} levels")
        level = [
            child for item in level for child in (item.values() if isinstance(item, dict) else item)
        ]


def is_plain_text(text: str) -> bool:
    """Whether `text` is valid Unicode without control characters: safe to print on a terminal."""
    return not any(c < " " or "\x7f" <= c <= "\x9f" or "\ud800" <= c <= "\udfff" for c in text)


class Fields:
    """The fields of one JSON object, each taken once with a check; `end` refuses the rest."""

    def __init__(self, value: Any, where: str) -> None:
        self.where = where
        if not isinstance(value, dict):
            raise wrong(where or "the manifest", value, "an object")
        self.rest = dict(value)

    def path(self, key: str) -> str:
        """Full name of a field, for messages."""
        return f"{self.where}.{key}" if self.where else key

    def take(self, key: str) -> Any:
        if key not in self.rest:
            raise ManifestError(
                f"{MANIFEST}: {self.path(key)} is missing; expected every field of the format; "
                "likely written by hand or by another tool"
            )
        return self.rest.pop(key)

    def fields(self, key: str) -> Fields:
        return Fields(self.take(key), self.path(key))

    def mapping(self, key: str) -> dict[str, Any]:
        return dict(self.fields(key).rest)

    def string(self, key: str, pattern: str = r"(?s).{1,2000}") -> str:
        value = self.take(key)
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            plain = "a string of 1 to 2,000 characters"
            expected = plain if pattern.startswith("(?s)") else f"a string like {pattern}"
            raise wrong(self.path(key), value, expected)
        return value

    def integer(self, key: str, low: int, high: int = 1 << 53) -> int:
        value = self.take(key)
        # bool is an int to Python, but not to the readers in other languages.
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise wrong(self.path(key), value, f"an integer from {low} to {high}")
        return value

    def number(self, key: str, valid: Callable[[float], bool], expected: str) -> float:
        value = self.take(key)
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not valid(value):
            raise wrong(self.path(key), value, expected)
        return float(value)

    def list(self, key: str) -> list[Any]:
        value = self.take(key)
        if not isinstance(value, list):
            raise wrong(self.path(key), value, "a list")
        return value

    def strings(self, key: str) -> tuple[str, ...]:
        value = self.list(key)
        if not all(isinstance(item, str) and 0 < len(item) <= 500 for item in value):
            raise wrong(self.path(key), value, "a list of strings")
        return tuple(value)

    def end(self) -> None:
        if self.rest:
            raise ManifestError(
                f"{MANIFEST}: unknown field {self.path(next(iter(self.rest)))!a}; expected only "
                "the fields of format version 1 (additions are named x_...); likely a typing error"
            )


def wrong(path: str, value: Any, expected: str) -> ManifestError:
    shown = ascii(value)
    shown = shown if len(shown) <= 80 else shown[:77] + "..."
    return ManifestError(
        f"{MANIFEST}: {path} is {shown}; expected {expected}; "
        "likely written by hand or by another tool"
    )
