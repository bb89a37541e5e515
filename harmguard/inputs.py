"""What is passed to a guard to be scored: texts and pairs, or a named error."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from harmguard.errors import (
    InputTypeError,
    InvalidTextError,
    TextTooLongError,
    UnknownThresholdError,
)

Pair = tuple[str, str | None]
"""A prompt and its response; None: the prompt alone."""
Kind = Literal["prompt", "exchange"]

_SURROGATE = re.compile("[\ud800-\udfff]")


def kind_of(response: str | None) -> Kind:
    """What a pair is judged as: a prompt alone, or an exchange."""
    return "prompt" if response is None else "exchange"


def checked_threshold(threshold: object) -> float:
    """A threshold that is no name. Raises InputTypeError or UnknownThresholdError."""
    if not isinstance(threshold, (int, float)) or isinstance(threshold, bool):
        raise InputTypeError(
            f"threshold is {type(threshold).__name__}; expected a number or a name"
        )
    if not 0 <= threshold <= 1:
        raise UnknownThresholdError(f"threshold is {threshold}; expected a number in [0, 1]")
    return float(threshold)


def check_text(text: object, name: str, max_chars: int) -> None:
    """Raise InputTypeError, TextTooLongError or InvalidTextError for what cannot be scored."""
    if not isinstance(text, str):
        raise InputTypeError(
            f"{name} is {type(text).__name__}; expected str; likely undecoded bytes, or a "
            "missing value"
        )
    if len(text) > max_chars:
        raise TextTooLongError(
            f"{name} has {len(text):,} characters; expected at most {max_chars:,}; likely a "
            "whole document: score its parts"
        )
    # Searched for, not tried: a UnicodeEncodeError would carry the text along.
    found = None if text.isascii() else _SURROGATE.search(text)
    if found is not None:
        raise InvalidTextError(
            f"{name} holds a lone surrogate at position {found.start():,} of {len(text):,}; "
            "expected valid Unicode; likely wrongly decoded text"
        )


def checked_pairs(pairs: Any) -> Iterator[Pair]:
    """Each pair of an iterable of pairs. Raises InputTypeError."""
    if isinstance(pairs, (str, bytes, Mapping)) or not isinstance(pairs, Iterable):
        raise InputTypeError(
            f"pairs is {type(pairs).__name__}; expected an iterable of (prompt, response); "
            "likely a single text: use score or check"
        )
    for index, pair in enumerate(pairs):
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            size = f" of {len(pair)}" if isinstance(pair, (tuple, list)) else ""
            raise InputTypeError(
                f"pair {index} is {type(pair).__name__}{size}; expected (prompt, response), a "
                "tuple or list of two; likely a prompt alone: write (prompt, None)"
            )
        yield pair[0], pair[1]
