"""Start-up time and anonymous memory, each in fresh processes.

    python -m benchmarks.startup harmguard/models/mini
    python -m benchmarks.startup harmguard/models/mini --quick

Needs the base install only. The files are in the page cache: one untimed start comes first.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import _results, _stats, _tables
from benchmarks._errors import WorkerError
from benchmarks._pool import environment
from benchmarks._text import TextMaker
from harmguard.bundle import open_bundle

STARTS, QUICK_STARTS = 15, 3
MEMORY_RUNS, QUICK_MEMORY_RUNS = 2, 1
BATCH, QUICK_BATCH = 256, 32
SHORT_TOKENS = 32
SEED = 13
STEPS = ("python", "import", "load", "first_score", "total")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write the raw JSON, print the table."""
    about = "Start-up time and memory of a guard, in fresh processes."
    options = _results.parser("startup", about, checkpoint=False).parse_args(arguments)
    result = _results.begin("startup", options)
    texts = TextMaker(options.bundle / "tokenizer.json", SEED)
    # Below the limit by more special tokens than any template has.
    long_tokens = open_bundle(options.bundle).manifest.input.max_tokens - 8
    short = texts.pair(SHORT_TOKENS)
    batch = QUICK_BATCH if options.quick else BATCH
    pairs = [short, *(texts.pair(long_tokens) for _ in range(batch))]
    child = (str(options.bundle.resolve()), str(options.threads))

    starts = []
    for _ in range(1 + (QUICK_STARTS if options.quick else STARTS)):
        starts.append(_start([*child, *short], options.threads))
    result["startup_s"] = {
        step: asdict(_stats.summary([one[step] for one in starts[1:]])) for step in STEPS
    }
    result["starts_s"] = starts[1:]
    _results.say("memory ...")
    runs = [
        _memory(child, pairs, options.threads)
        for _ in range(QUICK_MEMORY_RUNS if options.quick else MEMORY_RUNS)
    ]
    result |= {"long_tokens": long_tokens, "batch": batch, "memory_runs_mb": runs}
    result["memory_mb"] = {step: _highest([one[step] for one in runs]) for step in runs[0]}
    _results.finish(result, options)
    print(_tables.startup(result))
    return 0


def _start(arguments: Sequence[str], threads: int) -> dict[str, float]:
    """Seconds of each step of one fresh process, from before it exists to its first score."""
    before = time.monotonic()
    found = _child(["start", *arguments], threads)
    return {
        "python": found["before_import"] - before,
        "import": found["imported"] - found["before_import"],
        "load": found["loaded"] - found["imported"],
        "first_score": found["scored"] - found["loaded"],
        "total": found["scored"] - before,
    }


def _memory(
    child: tuple[str, str], pairs: Sequence[tuple[str, str]], threads: int
) -> dict[str, float | None]:
    """Anonymous memory of one fresh process along its life."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pairs.json"
        file.write_text(json.dumps(pairs), encoding="utf-8")
        return _child(["memory", *child, str(file)], threads)


def _child(arguments: Sequence[str], threads: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks._startup_child", *arguments]
    done = subprocess.run(
        command,
        cwd=_results.ROOT,
        env=environment(threads),
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise WorkerError(
            f"a fresh process ended with exit status {done.returncode} ({arguments[0]}); "
            "its own message is above"
        )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _highest(values: Sequence[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


if __name__ == "__main__":
    raise SystemExit(_results.guarded(main))
