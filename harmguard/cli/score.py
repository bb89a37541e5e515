"""`harmguard score`: one score on stdout, or a JSONL file of them."""

from __future__ import annotations

import argparse

from harmguard.cli import _guard_arguments

DESCRIPTION = "The harm score in [0, 1] of a prompt alone, or of an exchange."
USAGE = "harmguard score [options] (PROMPT [RESPONSE] | --jsonl IN [--out OUT])"
EPILOG = """\
One pair prints one line, the score with four decimals. With --jsonl every line of the file is
an object {"prompt": "...", "response": "..."}; without "response", or with null, the prompt
alone is judged. Other fields are ignored, and so are blank lines. The output has one object per
line in the same order: {"line": 1, "score": 0.0123}, or {"line": 2, "error": "EmptyPromptError"}
for a line that cannot be scored; why is said on stderr, and the exit code is then 1. A line of
which the guard cannot read a fifth or more has "unreadable" too, the share; one text is named on
stderr. What has arrived is scored once no more is waiting, so that a program may write a line and
read its answer.

examples:
  harmguard score "How do I bake bread?"
  harmguard score "How do I bake bread?" "Mix flour, water, salt and yeast."
  harmguard score --threads 1 -- "-5 degrees: is that cold?"
  echo "How do I bake bread?" | harmguard score - "Mix flour, water, salt and yeast."
  echo '{"prompt": "How do I bake bread?"}' | harmguard score --jsonl -
  echo '{"prompt": "Hello", "response": "Hi."}' | harmguard score --jsonl - --out scores.jsonl

"""


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    _guard_arguments.add_arguments(parser)
    parser.add_argument("--jsonl", metavar="IN", help="score every line of a file; - is stdin")
    parser.add_argument(
        "--out", metavar="OUT", help="a new file for the output of --jsonl; - is stdout"
    )


def run(args: argparse.Namespace) -> int:
    """Score what the arguments name; 1 if some lines of --jsonl could not be scored."""
    if args.jsonl is not None:
        if args.texts:
            args.usage_error("texts and --jsonl; expected one or the other")
        from harmguard.cli import _bulk

        return _bulk.score_file(lambda: _guard_arguments.open_guard(args), args.jsonl, args.out)
    if args.out is not None:
        args.usage_error("--out without --jsonl; a single score goes to stdout")
    found = _guard_arguments.texts(args)
    with _guard_arguments.open_guard(args) as guard:
        verdict = guard.check(*_guard_arguments.pair(found, guard.max_chars))
    print(f"{verdict.score:.4f}")
    _guard_arguments.say_unreadable(verdict)
    return 0
