"""All benchmarks, one after the other, then the pages.

    python -m benchmarks                       # under an hour on 2 cores, once the cache is filled
    python -m benchmarks --quick               # under 5 minutes: does it run?
    python -m benchmarks --results FOLDER      # all raw results there, pages as they are
    python -m benchmarks --checkpoint runs/mini
    python -m benchmarks NAME --help           # one of them; NAME is a module of a folder

First the peers' environments and converted models are made, unless the cache has them; that takes
long once, and does not count. Then the clock starts. A part that fails is named at the end and the
others go on; at the limit (60 minutes, 5 for a quick run) the running part is stopped, keeps what
it had in NAME.partial.json, and is named too. Without a checkpoint, mini's is rebuilt from the
shipped bundle. `longtext` runs where HARMGUARD_DATA is set; `quality`, whose looks are counted, is
run by hand.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from benchmarks.harness import command
from benchmarks.harness.command import Benchmark
from benchmarks.harness.data import data_given
from benchmarks.harness.errors import BenchmarkDataError
from benchmarks.harness.results import ROOT, Run, say
from benchmarks.runtimes.models import CACHE, CACHE_HELP, Models
from harmguard.bench.markdown import table
from harmguard.bundle import EMBEDDED
from harmguard.errors import BenchError

LIMIT_S, QUICK_LIMIT_S = 3600, 300
FOLDERS = ("performance", "quality")
"""Where the parts are: their modules are imported, the others need too much."""


@dataclass(frozen=True)
class Part:
    """One benchmark of a run: its name, its command, and the seconds that it should take."""

    name: str
    command: list[str]
    planned_s: int
    refused: str = ""
    """Why it cannot run."""


REPORT = Part("report", ["benchmarks", "report"], 120)


class Ended(TypedDict):
    """What a part took, and how it ended."""

    name: str
    planned_s: int
    took_s: int
    ended: str


class Whole(TypedDict):
    """The raw result."""

    limit_s: float
    parts: list[Ended]
    cache_s: int
    took_s: int


def arguments(parser: argparse.ArgumentParser) -> None:
    """Checkpoint, cache, results."""
    parser.add_argument("--checkpoint", type=Path, help="Hugging Face folder of the mini guard")
    parser.add_argument("--cache", type=Path, default=CACHE, help=CACHE_HELP)
    parser.add_argument("--retry", action="store_true", help="try again what could not be made")
    parser.add_argument("--results", type=Path, help="another folder for the raw results")


def measure(run: Run) -> Whole:
    """Fill the cache, run each part in a process of its own."""
    options = run.options
    if options.checkpoint is not None and not (options.checkpoint / "config.json").is_file():
        raise BenchmarkDataError(
            f"{options.checkpoint} has no config.json; expected a Hugging Face folder; likely a "
            "mistyped path"
        )
    if options.results and not options.out:
        run.path = options.results.resolve() / run.path.name
    before = time.monotonic()
    prepare(options)
    cache_s = round(time.monotonic() - before)
    say(f"the cache is filled: {cache_s} s (not counted)")
    limit, started = run.size(LIMIT_S, QUICK_LIMIT_S), time.monotonic()
    figures: Whole = {"limit_s": limit, "parts": [], "cache_s": cache_s, "took_s": 0}
    for part in parts(options):
        before = time.monotonic()
        ended = _run(part, started + limit - before) or "done"
        took = round(time.monotonic() - before)
        figures["parts"].append(
            {"name": part.name, "planned_s": part.planned_s, "took_s": took, "ended": ended}
        )
        figures["took_s"] = round(time.monotonic() - started)
        run.keep(figures)
    return figures


def ended(result: Whole, run: Run) -> int:
    """Render the pages; 3 if that or a part failed, or was stopped."""
    failed = [one["name"] for one in result["parts"] if one["ended"] != "done"]
    # Whatever the clock says: what was measured has to be seen.
    if not run.quick and run.options.results is None:
        failed += ["report"] if _run(REPORT, REPORT.planned_s) else []
    say(f"failed: {', '.join(failed)}" if failed else "all done")
    return 3 if failed else 0


def _run(part: Part, left_s: float) -> str:
    """Run one part; why it failed, or nothing."""
    if part.refused:
        return f"not begun: {part.refused}"
    if left_s <= 0:
        return "not begun: the time was over"
    process = subprocess.Popen([sys.executable, "-m", *part.command], cwd=ROOT)
    try:
        status = process.wait(timeout=left_s)
    except subprocess.TimeoutExpired:
        process.terminate()
        process.wait()
        return "stopped: the time was over"
    return f"exit status {status}" if status else ""


def prepare(options: argparse.Namespace) -> None:
    """Environments, checkpoints, bundles and converted models of the sizes that will run."""
    given = (
        [] if options.checkpoint is None else ["--checkpoint", str(options.checkpoint.resolve())]
    )
    cache = ["--cache", str(options.cache.resolve()), *(["--retry"] if options.retry else [])]
    for size, more in (("mini", given), *(() if options.quick else (("435m", []),))):
        call = [sys.executable, "-m", "benchmarks", "peers", size, "--prepare", *cache, *more]
        subprocess.run(call, cwd=ROOT, check=False)


def parts(options: argparse.Namespace) -> list[Part]:
    """Each benchmark in the order in which they run; one whose checkpoint fails has a reason."""
    fill = _words(options)
    own = [
        (part, name)
        for name, module in command.commands().items()
        if module.split(".")[1] in FOLDERS
        for part in getattr(command.command(name), "parts", ())
        if (part.quick_s is not None or not options.quick)
        and ("{data}" not in part.arguments or data_given())
    ]
    ready = []
    for part, name in sorted(own, key=lambda item: item[0].place):
        result, refused, words = part.name or name, "", []
        try:
            words = [out for word in part.arguments.split() for out in fill(word)]
        except BenchError as error:
            refused = str(error)
        words += ["--quick"] if options.quick else []
        if options.results:
            words += ["--out", str(options.results.resolve() / f"{result}.json")]
        planned = part.quick_s if options.quick else part.planned_s
        ready.append(Part(result, ["benchmarks", name, *words], planned or 0, refused))
    return ready


def _words(options: argparse.Namespace) -> Callable[[str], list[str]]:
    """What stands for a word of `Part.arguments`; raises BenchError where it cannot be made."""
    cache = options.cache.resolve()
    mini = Models(cache, "mini", options.checkpoint, 2)
    large = None if options.quick else Models(cache, "435m", None, 2)

    def given() -> list[str]:
        checkpoint = str(mini.checkpoint())
        return [] if options.checkpoint is None else ["--checkpoint", checkpoint]

    words: dict[str, Callable[[], list[str]]] = {
        "{bundle}": lambda: [str(EMBEDDED)],
        "{checkpoint}": lambda: [str(mini.checkpoint())],
        "{given}": given,
        "{cache}": lambda: [str(cache)],
        "{prepared}": lambda: [str(cache / "prepared")],
        "{optimum}": lambda: [str(mini.optimum())],
        "{recipes}": lambda: _recipes(mini, large),
        "{data}": list,
    }
    return lambda word: words[word]() if word in words else [word]


def _recipes(mini: Models, large: Models | None) -> list[str]:
    """Bundles of the other recipes that can be made; a missing one is said."""
    folders = []
    wanted = [] if large is None else [(mini, "fp32"), (large, "int8"), (large, "int4")]
    for models, recipe in wanted + ([] if large is None else [(large, "fp32")]):
        try:
            folders.append(str(models.bundle(recipe)))
        except BenchError as error:
            say(f"scaling leaves out a bundle: {error}")
    return folders


def tables(result: Whole) -> str:
    """What each part of a whole run took, against what was planned."""
    rows = [
        [one["name"], str(one["planned_s"]), str(one["took_s"]), one["ended"]]
        for one in result["parts"]
    ]
    rows.append(["all", f"{result['limit_s']} at most", str(result["took_s"]), ""])
    return table(["part", "planned, s", "took, s", "ended"], rows)


COMMAND = Benchmark(__name__, arguments, measure, tables, ended=ended)
