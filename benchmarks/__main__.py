"""All benchmarks, one after the other, then the pages.

    python -m benchmarks                       # under an hour on 2 cores, once the cache is filled
    python -m benchmarks --quick               # under 5 minutes: does it run?
    python -m benchmarks --results FOLDER      # all raw results there, pages as they are
    python -m benchmarks --checkpoint runs/mini

First the peers' environments and converted models are made, unless the cache has them; that takes
long once, and does not count. Then the clock starts. A part that fails is named at the end and the
others go on; at the limit (60 minutes, 5 for a quick run) the running part is stopped, keeps what
it had in NAME.partial.json, and is named too. Without a checkpoint, mini's is rebuilt from the
shipped bundle. `longtext` runs where HARMGUARD_DATA is set; `quality`, whose looks are counted, is
run by hand.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.harness import _tables
from benchmarks.harness.errors import BenchmarkDataError
from benchmarks.harness.results import RESULTS, ROOT, guarded, now, say, write_json
from benchmarks.runtimes.models import CACHE, CACHE_HELP, Models
from harmguard.bench.machine import describe
from harmguard.bundle import EMBEDDED
from harmguard.errors import BenchError

LIMIT_S, QUICK_LIMIT_S = 3600, 300
PLANNED_S = {
    "startup": (60, 10),
    "peers-mini": (600, 150),
    "peers-435m": (1260, 0),
    "scaling": (540, 10),
    "speed": (180, 40),
    "bulk": (420, 30),
    "longtext": (240, 60),
}
"""Seconds of each part on 2 cores that do nothing else: of a full run, and of a quick one."""


@dataclass(frozen=True)
class Part:
    """One benchmark: its name, its module with arguments, and the seconds that it should take."""

    name: str
    command: list[str]
    planned_s: int
    refused: str = ""
    """Why it cannot run."""


REPORT = Part("report", ["benchmarks.report"], 120)


def main(arguments: Sequence[str] | None = None) -> int:
    """Fill the cache, run each part in a process of its own; 3 if one failed or was stopped."""
    options = _parser().parse_args(arguments)
    if options.checkpoint is not None and not (options.checkpoint / "config.json").is_file():
        raise BenchmarkDataError(
            f"{options.checkpoint} has no config.json; expected a Hugging Face folder; likely a "
            "mistyped path"
        )
    limit = QUICK_LIMIT_S if options.quick else LIMIT_S
    result: dict[str, Any] = {
        "benchmark": "run",
        "quick": options.quick,
        "started": now(),
        "machine": describe(),
        "limit_s": limit,
        "parts": [],
    }
    before = time.monotonic()
    prepare(options)
    result["cache_s"] = round(time.monotonic() - before)
    say(f"the cache is filled: {result['cache_s']} s (not counted)")
    started = time.monotonic()
    failed = []
    for part in parts(options):
        before = time.monotonic()
        status = _run(part, started + limit - before)
        took = round(time.monotonic() - before)
        ended = {"took_s": took, "ended": status or "done"}
        result["parts"].append({"name": part.name, "planned_s": part.planned_s, **ended})
        result["took_s"] = round(time.monotonic() - started)
        write_json(_folder(options) / ("run.quick.json" if options.quick else "run.json"), result)
        failed += [part.name] if status else []
    say(_tables.run(result))
    # Whatever the clock says: what was measured has to be seen.
    if not options.quick and options.results is None:
        failed += ["report"] if _run(REPORT, REPORT.planned_s) else []
    say(f"failed: {', '.join(failed)}" if failed else "all done")
    return 3 if failed else 0


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    made.formatter_class = argparse.RawDescriptionHelpFormatter
    made.add_argument("--quick", action="store_true", help="few samples, to see that it runs")
    made.add_argument("--checkpoint", type=Path, help="Hugging Face folder of the mini guard")
    made.add_argument("--cache", type=Path, default=CACHE, help=CACHE_HELP)
    made.add_argument("--retry", action="store_true", help="try again what could not be made")
    made.add_argument("--results", type=Path, help="another folder for the raw results")
    return made


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
    given = [] if options.checkpoint is None else ["--checkpoint", _path(options.checkpoint)]
    cache = ["--cache", _path(options.cache), *(["--retry"] if options.retry else [])]
    for size, more in (("mini", given), *(() if options.quick else (("435m", []),))):
        command = [
            sys.executable,
            "-m",
            "benchmarks.performance.peers",
            size,
            "--prepare",
            *cache,
            *more,
        ]
        subprocess.run(command, cwd=ROOT, check=False)


def parts(options: argparse.Namespace) -> list[Part]:
    """Each benchmark in the order in which they run; one whose checkpoint fails has a reason."""
    mini = Models(options.cache.resolve(), "mini", options.checkpoint, 2)
    large = None if options.quick else Models(options.cache.resolve(), "435m", None, 2)
    bundle, checkpoint, refused = str(EMBEDDED), "", ""
    try:
        checkpoint = str(mini.checkpoint())
    except BenchError as error:
        refused = str(error)
    given = [] if options.checkpoint is None else ["--checkpoint", checkpoint]
    cache, optimum = ["--cache", _path(options.cache)], ["--optimum", str(mini.optimum())]
    prepared = ["--cache", str(options.cache.resolve() / "prepared")]
    commands = {
        "startup": ["startup", bundle],
        "peers-mini": ["peers", "mini", *cache, *given],
        "peers-435m": ["peers", "435m", *cache],
        "scaling": ["scaling", bundle, *_recipes(mini, large), *prepared],
        "speed": ["speed", bundle, checkpoint, *optimum],
        "bulk": ["bulk", bundle, checkpoint, *optimum],
        "longtext": ["longtext", bundle],
    }
    left_out = {"peers-435m"} if options.quick else set()
    left_out |= set() if os.environ.get("HARMGUARD_DATA") else {"longtext"}
    found = []
    for name, (module, *arguments) in commands.items():
        if name in left_out:
            continue
        quick = ["--quick"] if options.quick else []
        out = ["--out", str(_folder(options) / f"{name}.json")] if options.results else []
        planned = PLANNED_S[name][options.quick]
        needs = name in ("peers-mini", "speed", "bulk")
        command = [f"benchmarks.{module}", *arguments, *quick, *out]
        found.append(Part(name, command, planned, refused if needs else ""))
    return found


def _folder(options: argparse.Namespace) -> Path:
    """Where the raw results go."""
    return RESULTS if options.results is None else Path(options.results.resolve())


def _recipes(mini: Models, large: Models | None) -> list[str]:
    """Bundles of the other recipes that can be made; a missing one is said."""
    found = []
    wanted = [] if large is None else [(mini, "fp32"), (large, "int8"), (large, "int4")]
    for models, recipe in wanted + ([] if large is None else [(large, "fp32")]):
        try:
            found.append(str(models.bundle(recipe)))
        except BenchError as error:
            say(f"scaling leaves out a bundle: {error}")
    return found


def _path(path: Path) -> str:
    return str(path.resolve())


if __name__ == "__main__":
    raise SystemExit(guarded(main))
