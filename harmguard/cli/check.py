"""`harmguard check`: one verdict as JSON, and as the exit code."""

from __future__ import annotations

import argparse
import dataclasses
import json

from harmguard.cli import _guard_arguments, _stream_and_explain

DESCRIPTION = "The verdict on a prompt alone, or on an exchange."
USAGE = "harmguard check [options] PROMPT [RESPONSE]"
EPILOG = """\
Prints {"score": ..., "threshold": ..., "harmful": ..., "tokens": ..., "windows": ..., "view": ...,
"unreadable": ..., "guard": ...} and exits with 0 for not harmful, 1 for harmful, 2 or more for an
error: pass a text on only after 0. In a script always write -- before the text, or a text such as
--help is taken for an option. With - for a text it is read from standard input: other users then do
not see it in the list of processes. A text of which the guard cannot read a fifth or more is named
on stderr.

examples:
  harmguard check "How do I bake bread?"
  harmguard check "How do I bake bread?" "Mix flour, water, salt and yeast."
  harmguard check --threshold 0.9 -- "How do I bake bread?"
  if harmguard check -- "How do I bake bread?"; then echo pass; else echo stop; fi
  echo "How do I bake bread?" | harmguard check -
  harmguard check --explain "How do I bake bread?" "Mix flour and water. Add the yeast."
  echo "Mix flour and water." | harmguard check --stream --threshold 0.6 "How do I bake bread?"

"""


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    _guard_arguments.add_arguments(parser)
    parser.add_argument(
        "--threshold",
        type=_threshold,
        metavar="T",
        help="a number in [0, 1] or an operating point of the guard, as info lists them "
        "(default: default, with --stream: stream)",
    )
    ways = parser.add_mutually_exclusive_group()
    ways.add_argument(
        "--stream",
        action="store_true",
        help="read the answer to PROMPT from standard input as it comes, and write each sentence "
        "once the answer so far is harmless; at a harmful one stop, and exit with 1",
    )
    ways.add_argument(
        "--explain",
        action="store_true",
        help="print the verdict with the sentences and their part in it, by character offsets",
    )


def run(args: argparse.Namespace) -> int:
    """Print the verdict; 1 means harmful."""
    found = _guard_arguments.texts(args)
    if args.stream:
        if len(found) != 1 or found[0] is None:
            args.usage_error("--stream: expected PROMPT, and the answer on stdin")
        else:
            return _stream_and_explain.stream(args, found[0])
    threshold = "default" if args.threshold is None else args.threshold
    with _guard_arguments.open_guard(args, threshold) as guard:
        pair = _guard_arguments.pair(found, guard.max_chars)
        if args.explain:
            return _stream_and_explain.explain(guard, *pair)
        verdict = guard.check(*pair)
    print(json.dumps(dataclasses.asdict(verdict)))
    _guard_arguments.say_unreadable(verdict)
    return int(verdict.harmful)


def _threshold(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
