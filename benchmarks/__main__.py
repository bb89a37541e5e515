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

from benchmarks._peer_models import CACHE, CACHE_HELP, Models
from benchmarks._results import RESULTS, ROOT, say
from harmguard.bench.show import table
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
    "report": (10, 0),
}
"""Seconds of each part on 2 cores that do nothing else: of a full run, and of a quick one."""


@dataclass(frozen=True)
class Part:
    """One benchmark: its name, its module with arguments, and the seconds that it should take."""

    name: str
    command: list[str]
    planned_s: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Fill the cache, run each part in a process of its own; 3 if one failed or was stopped."""
    options = _parser().parse_args(arguments)
    before = time.monotonic()
    prepare(options)
    say(f"the cache is filled: {time.monotonic() - before:.0f} s (not counted)")
    started = time.monotonic()
    limit = QUICK_LIMIT_S if options.quick else LIMIT_S
    rows, failed = [], []
    for part in parts(options):
        before = time.monotonic()
        status = _run(part, started + limit - before)
        rows.append(
            [part.name, f"{part.planned_s}", f"{time.monotonic() - before:.0f}", status or "done"]
        )
        failed += [part.name] if status else []
    rows.append(["all", f"{limit} at most", f"{time.monotonic() - started:.0f}", ""])
    say(table(["part", "planned, s", "took, s", "ended"], rows))
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
        command = [sys.executable, "-m", "benchmarks.peers", size, "--prepare", *cache, *more]
        subprocess.run(command, cwd=ROOT, check=False)


def parts(options: argparse.Namespace) -> list[Part]:
    """Each benchmark in the order in which they run."""
    mini = Models(options.cache.resolve(), "mini", options.checkpoint, 2)
    large = None if options.quick else Models(options.cache.resolve(), "435m", None, 2)
    bundle, checkpoint = str(EMBEDDED), str(mini.checkpoint())
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
        "report": ["report"],
    }
    # A quick run writes beside the measured results, so the pages stay as they are.
    left_out = {"peers-435m", "report"} if options.quick else set()
    left_out |= {"report"} if options.results else set()
    left_out |= set() if os.environ.get("HARMGUARD_DATA") else {"longtext"}
    found = []
    for name, (module, *arguments) in commands.items():
        if name in left_out:
            continue
        quick = ["--quick"] if options.quick else []
        folder = RESULTS if options.results is None else options.results.resolve()
        out = ["--out", str(folder / f"{name}.json")] if options.results else []
        more = [] if name == "report" else [*quick, *out]
        planned = PLANNED_S[name][options.quick]
        found.append(Part(name, [f"benchmarks.{module}", *arguments, *more], planned))
    return found


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
    raise SystemExit(main())
