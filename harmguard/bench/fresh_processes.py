"""Start-up and memory, each figure from a process that was started for it alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harmguard.bench import stats
from harmguard.bench.results import STATES, STEPS, SmallDevice, Startup, StateMemory
from harmguard.bench.text import Exchange
from harmguard.errors import BenchError, MemoryUnreadableError

BUDGET = 1.25
"""A small device is given this times the memory that the guard is stated to take."""


def starts(bundle: Path, threads: int, pair: Exchange, count: int) -> Startup:
    """Seconds of each step from before the process exists to its first score, over `count`.

    One untimed start comes first, so that the files are in the page cache. BenchError if a
    process fails.
    """
    task = {"task": "start", "bundle": str(bundle), "threads": threads, "pairs": [pair]}
    seconds = []
    for _ in range(1 + count):
        before = time.perf_counter()
        clock = _child(task)
        seconds.append(
            {
                "python": clock["started"] - before,
                "import": clock["imported"] - clock["started"],
                "load": clock["loaded"] - clock["imported"],
                "first_score": clock["scored"] - clock["loaded"],
                "total": clock["scored"] - before,
            }
        )
    return {s: stats.summary([start[s] for start in seconds[1:]]).to_json() for s in STEPS}


def memory(
    bundle: Path, threads: int, short: Exchange, long: Exchange, batch: int
) -> dict[str, StateMemory]:
    """Memory in MB by state, a process for each; `batch` is how many times `long` is scored.

    BenchError or MemoryUnreadableError if a process fails.
    """
    pairs: dict[str, list[Exchange]] = {
        "first_score": [short],
        "long_score": [long],
        "batch": [long] * batch,
    }
    return {
        name: state(bundle, threads, "score" if name in pairs else name, pairs.get(name, []))
        for name in STATES
    }


def state(
    bundle: Path, threads: int, name: str, pairs: Sequence[Exchange] = (), callers: int = 1
) -> StateMemory:
    """Memory in MB of a fresh process in the state "import", "load" or "score" (of `pairs`).

    With more than one of `callers`, so many threads score them at once, and it is the memory a
    second later. Raises what `memory` raises.
    """
    task = {"task": "memory", "bundle": str(bundle), "threads": threads, "state": name}
    measured: StateMemory = _child({**task, "pairs": list(pairs), "callers": callers})
    return measured


def idle(bundle: Path, threads: int, pair: Exchange, calls: int) -> float:
    """Milliseconds of the processor that a call costs at 10 calls a second.

    What threads do between the calls is part of it. BenchError if the process fails.
    """
    task = {"task": "idle", "bundle": str(bundle), "threads": threads, "pairs": [pair]}
    return float(_child({**task, "calls": calls})["cpu_ms"])


def small_device(
    bundle: Path,
    stated_mb: float | None,
    pairs: Sequence[Exchange],
    timed: dict[int, Exchange],
    calls: int,
) -> SmallDevice:
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
    measured = _child(task)
    return {
        "cores": measured["cores"],
        "limit_mb": limit,
        "limited": measured["limited"],
        "tokens": {
            tokens: stats.summary([1000 * s for s in seconds]).to_json()
            for tokens, seconds in measured["seconds"].items()
        },
    }


def _child(task: dict[str, Any]) -> Any:
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
    answer = json.loads(done.stdout.splitlines()[-1])
    if "error" in answer:
        unreadable = answer["error"].startswith(MemoryUnreadableError.__name__)
        kind = MemoryUnreadableError if unreadable else BenchError
        raise kind(f"a fresh process ({task['task']}) failed: {answer['error']}")
    return answer
