"""What score and check share: their arguments, and the guard made from them."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from harmguard.cli._standard_streams import input_bytes

if TYPE_CHECKING:
    from harmguard.guard import HarmGuard
    from harmguard.verdict import Verdict

UNREADABLE = 0.2
"""Share of unreadable characters from which a verdict is said to mean little."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add PROMPT, RESPONSE, --guard, --threads and --cache."""
    parser.add_argument(
        "texts",
        nargs="*",
        metavar="PROMPT [RESPONSE]",
        help="without RESPONSE the prompt alone is judged; - reads one of them from standard "
        "input (UTF-8, one newline at its end is left off); put -- before texts that begin with -",
    )
    parser.add_argument(
        "--guard",
        metavar="FOLDER",
        help="the bundle's folder, or installed:NAME (default: the embedded mini guard)",
    )
    parser.add_argument(
        "--threads",
        type=positive,
        metavar="N",
        help="threads (default: the cores that this process may use, at most 4)",
    )
    parser.add_argument(
        "--cache", metavar="DIR", help="use, or make, a prepared copy there (see prepare --help)"
    )
    parser.set_defaults(usage_error=parser.error)


def texts(args: argparse.Namespace) -> list[str | None]:
    """The one or two texts of the command line; None is standard input. Else a usage error."""
    found: list[str | None] = args.texts
    if len(found) not in (1, 2):
        args.usage_error(f"{len(found)} texts; expected PROMPT, or PROMPT and RESPONSE")
    if found.count(None) > 1:
        args.usage_error("- twice; expected standard input for one text (a hyphen is -- -)")
    return found


def pair(found: list[str | None], max_chars: int) -> tuple[str, str | None]:
    """Prompt and response, read from standard input where that was asked for.

    Raises EmptyPromptError, InvalidTextError, TextTooLongError or InputError.
    """
    read = [_standard_input(max_chars) if text is None else text for text in found]
    return read[0], read[1] if len(read) == 2 else None


def _standard_input(max_chars: int) -> str:
    from harmguard.errors import EmptyPromptError, InvalidTextError, TextTooLongError

    limit = 4 * max_chars + 2  # a character has at most 4 bytes, a newline 2
    data: bytes = input_bytes().read(limit + 1)
    if len(data) > limit:
        raise TextTooLongError(
            f"standard input has more than {limit:,} bytes; expected at most {max_chars:,} "
            "characters; likely a whole document: score its parts"
        )
    data = data.removesuffix(b"\n").removesuffix(b"\r") if data.endswith(b"\n") else data
    if not data:
        raise EmptyPromptError(
            "standard input is empty; expected a text; likely a command before it that failed"
        )
    start = None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        start = error.start
    raise InvalidTextError(
        f"standard input is no UTF-8 at byte {start:,} of {len(data):,}; expected UTF-8; likely "
        "another encoding, or a file that is no text"
    )


def open_guard(args: argparse.Namespace, threshold: float | str = "default") -> HarmGuard:
    """The guard that the arguments ask for."""
    from harmguard.guard import HarmGuard
    from harmguard.installed import guard_folder

    # None, and only None, is the embedded guard: "" is a wrong path.
    folder = guard_folder(args.guard) if args.guard else args.guard
    return HarmGuard(folder, threads=args.threads, threshold=threshold, cache=args.cache)


def say_unreadable(verdict: Verdict) -> None:
    """Say on stderr that the guard cannot read much of the text: its score says little then."""
    if verdict.unreadable >= UNREADABLE:
        print(
            f"harmguard: this guard cannot read {verdict.unreadable:.0%} of the text: it has no "
            "tokens for it, or was not trained on its letters; a low score does not mean safe",
            file=sys.stderr,
        )


def positive(digits: str) -> int:
    """A whole number from 1, for argparse."""
    if not digits.isdecimal() or int(digits) < 1:
        raise argparse.ArgumentTypeError("expected a whole number from 1")
    return int(digits)
