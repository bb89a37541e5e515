"""Start-up and memory, each figure from a process that was started for it alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harmguard.bench import stats
from harmguard.bench.text import Pair
from harmguard.errors import BenchError, MemoryUnreadableError

STEPS = ("python", "import", "load", "first_score", "total")
STATES = ("import", "load", "first_score", "long_score", "batch")
BUDGET = 1.25
"""A small device is given this times the memory that the guard is stated to take."""


def starts(bundle: Path, threads: int, pair: Pair, count: int) -> dict[str, Any]:
    """Seconds of each step from before the process exists to its first score, over `count`.

    One untimed start comes first, so that the files are in the page cache. BenchError if a
    process fails.
    """
    task = {"task": "start", "bundle": str(bundle), "threads": threads, "pairs": [pair]}
    taken = []
    for _ in range(1 + count):
        before = time.perf_counter()
        found = _child(task)
        taken.append(
            {
                "python": found["started"] - before,
                "import": found["imported"] - found["started"],
                "load": found["loaded"] - found["imported"],
                "first_score": found["scored"] - found["loaded"],
                "total": found["scored"] - before,
            }
        )
    return {step: asdict(stats.summary([one[step] for one in taken[1:]])) for step in STEPS}


def memory(
    bundle: Path, threads: int, short: Pair, long: Pair, batch: int
) -> dict[str, dict[str, float | None]]:
    """Memory in MB by state, a process for each; `batch` is how many times `long` is scored.

    Keys of a state: anonymous, file, pss, peak (resident), peak_anonymous; None is what the
    system does not tell. BenchError or MemoryUnreadableError if a process fails.
    """
    pairs: dict[str, list[Pair]] = {
        "first_score": [short],
        "long_score": [long],
        "batch": [long] * batch,
    }
    return {
        name: state(bundle, threads, "score" if name in pairs else name, pairs.get(name, []))
        for name in STATES
    }


def state(
    bundle: Path, threads: int, name: str, pairs: Sequence[Pair] = (), callers: int = 1
) -> dict[str, float | None]:
    """Memory in MB of a fresh process in the state "import", "load" or "score" (of `pairs`).

    With more than one of `callers`, so many threads score them at once, and it is the memory a
    second later. Keys and errors as in `memory`.
    """
    task = {"task": "memory", "bundle": str(bundle), "threads": threads, "state": name}
    return _child({**task, "pairs": list(pairs), "callers": callers})


def idle(bundle: Path, threads: int, pair: Pair, calls: int) -> float:
    """Milliseconds of the processor that a call costs at 10 calls a second.

    What threads do between the calls is part of it. BenchError if the process fails.
    """
    task = {"task": "idle", "bundle": str(bundle), "threads": threads, "pairs": [pair]}
    return float(_child({**task, "calls": calls})["cpu_ms"])


def small_device(
    bundle: Path,
    stated_mb: float | None,
    pairs: Sequence[Pair],
    timed: dict[int, Pair],
    calls: int,
) -> dict[str, Any]:
    """Latency on one core with `stated_mb` plus a quarter of private memory, in ms by tokens.

    `pairs` are scored first, as one batch. `limited` is False where the system enforces no limit
    or the memory is unknown, `cores` None where it cannot keep a process on one. BenchError if
    the process fails, as it does when the memory is not enough.
    """
    limit = None if stated_mb is None else round(stated_mb * BUDGET, 1)
    task = {
        "task": "small",
        "bundle": str(bundle),
        "limit_mb": limit,
        "pairs": pairs,
        "timed": timed,
        "calls": calls,
    }
    found = _child(task)
    latency = {
        tokens: asdict(stats.summary([1000 * s for s in seconds]))
        for tokens, seconds in found["seconds"].items()
    }
    return {
        "cores": found["cores"],
        "limit_mb": limit,
        "limited": found["limited"],
        "tokens": latency,
    }


def _child(task: dict[str, Any]) -> dict[str, Any]:
    """Run one task in a fresh interpreter that finds the same harmguard."""
    package = Path(__file__).resolve().parents[2]
    paths = [str(package), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        # -P: the file's own folder is no place to import from.
        [sys.executable, "-P", str(Path(__file__).with_name("child.py"))],
        input=json.dumps(task),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise BenchError(
            f"a fresh process ({task['task']}) ended with exit status {done.returncode}: {last}; "
            "expected a result; likely out of memory"
        )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if "error" in found:
        unreadable = found["error"].startswith(MemoryUnreadableError.__name__)
        kind = MemoryUnreadableError if unreadable else BenchError
        raise kind(f"a fresh process ({task['task']}) failed: {found['error']}")
    return found
