"""The command `harmguard`: picks a command, and turns errors into one line and an exit code."""

from __future__ import annotations

import argparse
import importlib
import re
import signal
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any, NoReturn

from harmguard import __version__
from harmguard.cli._standard_streams import (
    Signals,
    Stopped,
    drop_unwritten,
    standard_streams,
    stopping_signals,
)
from harmguard.errors import HarmGuardError

# In the order of --help. Each is the module NAME.py here: DESCRIPTION, EPILOG, add() and run().
COMMANDS = {
    "score": "print the harm score of a prompt or an exchange, or score a JSONL file",
    "check": "print the verdict on a prompt or an exchange; the exit code says it too",
    "info": "say what a guard is: origin, licence, thresholds, precision, what is unknown",
    "verify": "hash every file of a guard and replay its golden pairs",
    "prepare": "make the copy of a guard whose packed weights are mapped on this device",
    "bench": "time a guard on this machine: latency, throughput, start-up, memory",
    "eval": "measure a checkpoint or a guard on labelled data",
    "calibrate": "fit temperature and thresholds on labelled data, into a new bundle",
    "train": "train a guard (extra: train)",
    "export": "turn a checkpoint into a guard's bundle (extra: export)",
    "sensitivity": "find which layers of a model a recipe must spare (extra: export)",
}
EXIT_CODES = """\
exit codes:
  0    done; for check: not harmful
  1    score --jsonl: some rows were bad; check: harmful
  2    the command line is wrong
  3    an error, said on stderr in one line: a guard, a file or a text cannot be used, the
       output cannot be written, or nobody foresaw it
  129  stopped by SIGHUP
  130  interrupted
  143  stopped by SIGTERM
  141  the reader of the output went away
"""
_EXAMPLES = """\
examples:
  harmguard score "How do I bake bread?"
  harmguard check "How do I bake bread?" "Mix flour, water, salt and yeast."
  harmguard info

Every command has its own --help, with examples.

"""


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that takes no abbreviations and never repeats a text in an error."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        options.setdefault("allow_abbrev", False)
        super().__init__(**options)

    def error(self, message: str) -> NoReturn:
        """Print usage and the message, without any quoted argument, and exit with 2."""
        # argparse quotes what it found, and what it found may be the prompt.
        super().error(re.sub(r"[: ]*['\"].*", "", message, flags=re.DOTALL))


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code; `argv` is sys.argv[1:] unless given."""
    with standard_streams() as opened, warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            with stopping_signals() as signals:
                code = _code(sys.argv[1:] if argv is None else argv, signals)
        except Stopped as error:  # while the handlers were put back
            code = 128 + error.number
        if not opened and code < 128:
            _say("standard output is closed; expected one to write to")
            code = 3
        drop_unwritten(sys.stdout)
    return code


def _code(argv: list[str], signals: Signals) -> int:
    """Run one command; its exit code, also for whatever stops it. 1 means what it means alone."""
    try:
        try:
            code = _run(argv)
            sys.stdout.flush()
        except BaseException:
            # Whatever a signal turned into on its way through native code.
            signals.raise_received()
            raise
    except SystemExit as exit_:  # argparse: --help, --version, usage
        code = exit_.code if exit_.code in (0, 2) else 3
    except Stopped as error:
        interrupted = error.number == signal.SIGINT
        _say("interrupted" if interrupted else f"stopped by signal {error.number}")
        code = 128 + error.number
    except KeyboardInterrupt:  # where the caller of main() has a handler of their own
        _say("interrupted")
        code = 130
    except BrokenPipeError:
        code = 141
    except HarmGuardError as error:
        _say(f"{type(error).__name__}: {error}")
        code = 3
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _say(f"{where}{error.strerror or error}")
        code = 3
    except BaseException as error:
        _say(_unforeseen(error))
        code = 3
    return code


def _unforeseen(error: BaseException) -> str:
    """Class and place of an error; not its message, which may quote a text."""
    frames = traceback.extract_tb(error.__traceback__)
    places = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames]
    return (
        f"unforeseen {type(error).__name__} at {' '.join(places[-3:]) or 'an unknown place'}; "
        "expected none; likely a fault of harmguard or of its installation: please report this line"
    )


def _say(message: str) -> None:
    print(f"harmguard: {message}", file=sys.stderr)


def _run(argv: list[str]) -> int:
    # Cut at "--" here: how argparse treats it differs between Python versions.
    cut = argv.index("--") if "--" in argv else len(argv)
    head, tail = argv[:cut], argv[cut + 1 :]
    command = next((word for word in head if not word.startswith("-")), None)
    parser = Parser(
        prog="harmguard",
        description="A harm score for a prompt or an exchange, on this machine.",
        epilog=_EXAMPLES + EXIT_CODES,
    )
    parser.add_argument("--version", action="version", version=f"harmguard {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND")
    module = None
    for name, text in COMMANDS.items():
        if name == command:
            module = importlib.import_module(f"harmguard.cli.{name}")
            chosen = subparsers.add_parser(
                name,
                help=text,
                usage=getattr(module, "USAGE", None),
                description=module.DESCRIPTION,
                epilog=module.EPILOG + EXIT_CODES,
            )
            module.add(chosen)
        else:
            subparsers.add_parser(name, help=text)
    if command is not None and module is None:
        parser.error(f"unknown command; expected one of {', '.join(COMMANDS)}")
    args, extra = parser.parse_known_args(head)
    if module is None:
        parser.error(f"no command; expected one of {', '.join(COMMANDS)}")
    if any(word.startswith("-") and word != "-" for word in extra):
        parser.error("unknown option; write -- before texts that begin with a dash")
    if hasattr(args, "texts"):
        # argparse stops collecting texts at the first option between them. Before "--" a hyphen
        # is standard input, after it a text.
        found = [None if word == "-" else word for word in (*args.texts, *extra)]
        args.texts = [*found, *tail]
    elif extra or tail:
        parser.error(f"{len(extra) + len(tail)} arguments too many for {command}")
    return int(module.run(args))


def _show_warning(
    message: Warning | str, category: type[Warning], *_: object, **__: object
) -> None:
    _say(f"{category.__name__}: {message}")
