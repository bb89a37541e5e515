"""Strict, bounded JSON: what a bundle's manifest and the rows of JSONL files are read with."""

from __future__ import annotations

import json
import math
from typing import Any

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
