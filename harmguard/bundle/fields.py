"""The fields of a manifest's JSON objects: each taken once, with a check that names it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from harmguard.errors import ManifestError

MANIFEST = "guard.json"
RECORD = "guard.verified.json"
"""What verify leaves in the folder about the large files that it has hashed."""


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
        """The value of a field that must be there. All of these raise ManifestError."""
        if key not in self.rest:
            raise ManifestError(
                f"{MANIFEST}: {self.path(key)} is missing; expected every field of the format; "
                "likely written by hand or by another tool"
            )
        return self.rest.pop(key)

    def fields(self, key: str) -> Fields:
        """A field that is an object, to be taken field by field."""
        return Fields(self.take(key), self.path(key))

    def mapping(self, key: str) -> dict[str, Any]:
        """A field that is an object with any fields."""
        return dict(self.fields(key).rest)

    def string(self, key: str, pattern: str = r"(?s).{1,2000}") -> str:
        """A field that is a string and matches the whole pattern."""
        value = self.take(key)
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            plain = "a string of 1 to 2,000 characters"
            expected = plain if pattern.startswith("(?s)") else f"a string like {pattern}"
            raise wrong(self.path(key), value, expected)
        return value

    def integer(self, key: str, low: int, high: int = 1 << 53) -> int:
        """A field that is an integer from `low` to `high`."""
        value = self.take(key)
        # bool is an int to Python, but not to the readers in other languages.
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise wrong(self.path(key), value, f"an integer from {low} to {high}")
        return value

    def number(self, key: str, valid: Callable[[float], bool], expected: str) -> float:
        """A field that is a valid number; `expected` says which ones are."""
        value = self.take(key)
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not valid(value):
            raise wrong(self.path(key), value, expected)
        return float(value)

    def list(self, key: str) -> list[Any]:
        """A field that is a list."""
        value = self.take(key)
        if not isinstance(value, list):
            raise wrong(self.path(key), value, "a list")
        return value

    def strings(self, key: str) -> tuple[str, ...]:
        """A field that is a list of strings of 1 to 500 characters."""
        value = self.list(key)
        if not all(isinstance(item, str) and 0 < len(item) <= 500 for item in value):
            raise wrong(self.path(key), value, "a list of strings")
        return tuple(value)

    def end(self) -> None:
        """Refuse the fields that nobody has taken."""
        if self.rest:
            raise ManifestError(
                f"{MANIFEST}: unknown field {self.path(next(iter(self.rest)))!a}; expected only "
                "the fields of the format (additions are named x_...); likely a typing error"
            )


def wrong(path: str, value: Any, expected: str) -> ManifestError:
    """The error for a field whose value is not what is expected."""
    shown = ascii(value)
    shown = shown if len(shown) <= 80 else shown[:77] + "..."
    return ManifestError(
        f"{MANIFEST}: {path} is {shown}; expected {expected}; "
        "likely written by hand or by another tool"
    )
