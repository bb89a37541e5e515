"""What `python -m benchmarks NAME` runs: each module of a folder has one, in `COMMAND`.

A benchmark is a command that measures: it ends in a raw result, a table, and for some a picture.
All that the whole run, the pages and the comparison know of it stands in its own module.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from benchmarks.harness.results import ROOT, Run, say
from harmguard.errors import HarmGuardError

FOLDERS = ("", "performance", "quality", "processors", "training", "checkpoints")
"""Where commands are: every module without an underscore; "" is `benchmarks` itself."""

Figures = TypeVar("Figures")


@dataclass(frozen=True)
class Part:
    """A benchmark's place in the whole run, and the seconds that it takes on two idle cores."""

    place: int
    planned_s: int
    quick_s: int | None
    """None: a quick run leaves it out."""
    arguments: str
    """Words in braces are filled in by `benchmarks.run`."""
    name: str = ""
    """What its result is called, if not as the command."""


@dataclass(frozen=True)
class Command:
    """A command line; its name is its module's, its help the module's docstring."""

    module: str
    arguments: Callable[[argparse.ArgumentParser], object]

    @property
    def name(self) -> str:
        """What it is called by."""
        return self.module.rpartition(".")[2]

    @property
    def about(self) -> str:
        """The module's docstring."""
        return sys.modules[self.module].__doc__ or ""

    def parser(self) -> argparse.ArgumentParser:
        """Its options."""
        parser = argparse.ArgumentParser(
            prog=f"python -m benchmarks {self.name}",
            description=self.about,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        self.arguments(parser)
        return parser

    def act(self, options: argparse.Namespace) -> int:
        """Do what the options say; the exit status."""
        raise NotImplementedError

    def main(self, arguments: Sequence[str] | None = None) -> int:
        """Run it; raises what it raises."""
        return self.act(self.parser().parse_args(arguments))

    def guarded(self, arguments: Sequence[str] | None = None) -> int:
        """Run it; an error that is named becomes one line on stderr and status 3."""
        try:
            return self.main(arguments)
        except HarmGuardError as error:
            say(f"{type(error).__name__}: {error}")
            return 3


@dataclass(frozen=True)
class Script(Command):
    """A command that measures nothing."""

    run: Callable[[argparse.Namespace], int]

    def act(self, options: argparse.Namespace) -> int:
        """Run it."""
        return self.run(options)


@dataclass(frozen=True)
class Benchmark(Command, Generic[Figures]):
    """A command that measures, with what is made of its result."""

    measure: Callable[[Run], Figures | None]
    """None: all that was asked for is done, and there is no result."""
    table: Callable[[Figures], str]
    picture: Callable[[Figures, Path], None] | None = None
    ratios: Callable[[Figures], Iterable[tuple[str, float]]] | None = None
    """What two runs must agree on, by name."""
    ended: Callable[[Figures, Run], int] = lambda *_: 0
    """The exit status once the result is written; may raise."""
    parts: Sequence[Part] = ()
    quick: bool = True
    """Whether it can be run with few samples."""
    result: Callable[[argparse.Namespace], str] | None = None
    """What a run's result is called, if not as the command."""

    def parser(self) -> argparse.ArgumentParser:
        """Its own options, and those of every benchmark."""
        parser = super().parser()
        parser.add_argument("--out", type=Path, help="raw JSON (default: in benchmarks/results)")
        parser.set_defaults(quick=False)
        if self.quick:
            parser.add_argument("--quick", action="store_true", help="few samples: does it run?")
        return parser

    def act(self, options: argparse.Namespace) -> int:
        """Measure, write the raw result, print the table."""
        run = Run(self.result(options) if self.result else self.name, options)
        figures = self.measure(run)
        if figures is None:
            return 0
        run.finish(figures)
        print(self.table(figures))
        return self.ended(figures, run)


def commands() -> dict[str, str]:
    """Name -> module of every command."""
    return {
        path.stem: ".".join(filter(None, ("benchmarks", folder, path.stem)))
        for folder in FOLDERS
        for path in sorted((ROOT / "benchmarks" / folder).glob("*.py"))
        if not path.stem.startswith("_")
    }


def command(name: str) -> Any:
    """The command of that name; KeyError if there is none."""
    return importlib.import_module(commands()[name]).COMMAND


def command_of(result: str) -> Any:
    """The command that writes a result: NAME, or NAME and a dash and what was measured.

    None if there is none, or if the result is of a quick run or a part.
    """
    name = "" if "." in result else result.partition("-")[0]
    return command(name) if name in commands() else None


def takes_bundle(parser: argparse.ArgumentParser) -> None:
    """BUNDLE and --threads."""
    parser.add_argument("bundle", type=Path, help="folder of the guard that is measured")
    takes_threads(parser)


def takes_threads(parser: argparse.ArgumentParser) -> None:
    """--threads."""
    parser.add_argument("--threads", type=int, default=2, help="of each runtime (default: 2)")
