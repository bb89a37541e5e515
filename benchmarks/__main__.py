"""All benchmarks, one after the other, then the pages.

    python -m benchmarks                       # under an hour on 2 cores, peers installed before
    python -m benchmarks --quick               # a few minutes: does it run?
    python -m benchmarks --checkpoint runs/mini

A benchmark that fails is named at the end and the others go on. Without a checkpoint, `speed` and
`bulk` are left out and the peers get random weights. `longtext` runs where HARMGUARD_DATA is set;
`quality`, whose looks are counted, is run by hand.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks._results import ROOT, say
from harmguard.bundle import EMBEDDED


def main(arguments: Sequence[str] | None = None) -> int:
    """Run each in a process of its own; 3 if one failed."""
    made = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    made.add_argument("--quick", action="store_true", help="few samples, to see that it runs")
    made.add_argument("--checkpoint", type=Path, help="Hugging Face folder of the mini guard")
    options = made.parse_args(arguments)
    failed = []
    for command in commands(options.checkpoint, quick=options.quick):
        before = time.monotonic()
        done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, check=False)
        name = " ".join(command[:2])
        say(f"{name}: {time.monotonic() - before:.0f} s, exit status {done.returncode}")
        if done.returncode:
            failed.append(name)
    say(f"failed: {', '.join(failed)}" if failed else "all done")
    return 3 if failed else 0


def commands(checkpoint: Path | None, *, quick: bool) -> list[list[str]]:
    """Module and arguments of each benchmark, in the order in which they run."""
    bundle = str(EMBEDDED)
    found = [["benchmarks.startup", bundle], ["benchmarks.scaling", bundle]]
    if checkpoint is not None:
        both = [bundle, str(checkpoint.resolve())]
        found += [["benchmarks.speed", *both], ["benchmarks.bulk", *both]]
    given = [] if checkpoint is None else ["--checkpoint", str(checkpoint.resolve())]
    found.append(["benchmarks.peers", "mini", *given])
    if not quick:
        found.append(["benchmarks.peers", "435m"])
    if os.environ.get("HARMGUARD_DATA"):
        found.append(["benchmarks.longtext", bundle])
    found = [[*command, "--quick"] if quick else command for command in found]
    # A quick run writes beside the measured results, so the pages stay as they are.
    return found if quick else [*found, ["benchmarks.report"]]


if __name__ == "__main__":
    raise SystemExit(main())
