"""What score and check share: their arguments, and the guard made from them."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

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
        help="without RESPONSE the prompt alone is judged; put -- before texts that begin with -",
    )
    parser.add_argument(
        "--guard", metavar="FOLDER", help="the bundle's folder (default: the embedded mini guard)"
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


def texts(args: argparse.Namespace) -> tuple[str, str | None]:
    """The prompt and the response of the command line; a usage error unless 1 or 2 are there."""
    found: list[str] = args.texts
    if len(found) not in (1, 2):
        args.usage_error(f"{len(found)} texts; expected PROMPT, or PROMPT and RESPONSE")
    return found[0], found[1] if len(found) == 2 else None


def open_guard(args: argparse.Namespace, threshold: float | str = "default") -> HarmGuard:
    """The guard that the arguments ask for."""
    from harmguard.guard import HarmGuard

    # None, and only None, is the embedded guard: "" is a wrong path.
    return HarmGuard(args.guard, threads=args.threads, threshold=threshold, cache=args.cache)


def say_unreadable(verdict: Verdict) -> None:
    """Say on stderr that the guard cannot read much of the text, for its score then says little."""
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
