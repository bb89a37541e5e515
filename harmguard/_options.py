"""The options of a guard as people write them: numpy numbers, digits, paths; or a named error."""

from __future__ import annotations

import math
import numbers
import operator
import os
import re
import warnings
from decimal import Decimal
from pathlib import Path
from typing import Any

from harmguard.bundle import Bundle
from harmguard.core.cores import allowed_cores, default_threads
from harmguard.errors import (
    FewerThreadsWarning,
    InputError,
    InputTypeError,
    UnknownThresholdError,
)

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")


def check_long_text(value: Any) -> None:
    """InputError unless `value` is one of the two words."""
    if not isinstance(value, str) or value not in ("window", "error"):
        raise InputError(f'long_text is {value!a:.40}; expected "window" or "error"')


def checked_path(value: Any, name: str) -> Path:
    """The path that an option names. Raises InputTypeError or InputError."""
    try:
        text = os.fspath(value)
    except TypeError:
        text = None
    if not isinstance(text, str):
        raise InputTypeError(
            f"{name} is {type(value).__name__}; expected a path, as str or os.PathLike, or None"
        )
    if not text:
        raise InputError(
            f"{name} is empty; expected a folder, or None; likely a variable that is not set"
        )
    if "\0" in text:
        raise InputError(f"{name} holds a NUL at {text.index(chr(0))}; expected a path")
    return Path(text)


def checked_threads(value: Any) -> int:
    """How many threads a guard gets: `value`, at most the cores allowed; None: the default.

    Warns FewerThreadsWarning where that is fewer than asked for. Raises InputTypeError or
    InputError.
    """
    if value is None:
        return default_threads()
    wanted = _whole(value, "threads")
    if wanted < 1:
        raise InputError(f"threads is {wanted}; expected at least 1, or None to choose")
    cores = max(1, int(allowed_cores()))
    if wanted > cores:
        warnings.warn(
            f"threads is {wanted:,} and this process may use {cores} cores; the guard has {cores} "
            "threads, because more would only wait for each other",
            FewerThreadsWarning,
            stacklevel=3,
        )
    return min(wanted, cores)


def checked_max_chars(value: Any, most: int) -> int:
    """The ceiling on a text's characters: `value`, or `most`, the bundle's own, for None.

    Raises InputTypeError or InputError.
    """
    if value is None:
        return most
    wanted = _whole(value, "max_chars")
    if not 1 <= wanted <= most:
        raise InputError(
            f"max_chars is {wanted:,}; expected from 1 to {most:,}, the bundle's own, which it can "
            "only lower"
        )
    return wanted


def checked_thresholds(bundle: Bundle, value: Any) -> dict[str, float]:
    """The threshold in use for each kind of input: of an operating point's name, or a number.

    Raises InputTypeError or UnknownThresholdError.
    """
    points = bundle.manifest.thresholds
    if isinstance(value, str):
        common = sorted(set.intersection(*(set(named) for named in points.values())))
        if value in common:
            return {kind: named[value].value for kind, named in points.items()}
        if not _NUMBER.fullmatch(value.strip()):
            raise UnknownThresholdError(
                f"no operating point {value[:40]!a} in guard {bundle.manifest.name!r}; "
                f"expected a number or one of {', '.join(common)}; likely a spelling mistake"
            )
    elif isinstance(value, bool) or not isinstance(value, numbers.Real | Decimal):
        raise InputTypeError(f"threshold is {type(value).__name__}; expected a number or a name")
    try:
        number = float(value)
    except (OverflowError, ValueError):  # beyond float's range, or a signalling NaN
        number = math.inf
    if not 0 <= number <= 1:
        raise UnknownThresholdError(f"threshold is {number}; expected a number in [0, 1]")
    return dict.fromkeys(points, number)


def _whole(value: Any, name: str) -> int:
    """A whole number of any kind, numpy's too; InputTypeError for all else, bool among it."""
    try:
        found = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        found = None
    if found is None:
        raise InputTypeError(f"{name} is {type(value).__name__}; expected int or None")
    return found
