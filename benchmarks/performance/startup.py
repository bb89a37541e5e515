"""Start-up time, anonymous memory and idle cost, each in fresh processes.

    python -m benchmarks startup harmguard/models/mini
    python -m benchmarks startup harmguard/models/mini --quick

Needs the base install only. The files are in the page cache: one untimed start comes first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.harness import _tables
from benchmarks.harness import results as _results
from harmguard.bench import fresh_processes
from harmguard.bench.text import TextMaker
from harmguard.bundle import open_bundle

STARTS, QUICK_STARTS = 15, 3
MEMORY_RUNS, QUICK_MEMORY_RUNS = 2, 1
BATCH, QUICK_BATCH = 256, 16
SHORT_TOKENS, IDLE_TOKENS = 32, 25
IDLE_CALLS, QUICK_IDLE_CALLS = 100, 5
CALLERS = 8
SEED = 13


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write the raw JSON, print the table."""
    about = "Start-up time and memory of a guard, in fresh processes."
    options = _results.parser("startup", about, checkpoint=False).parse_args(arguments)
    result = _results.begin("startup", options)
    folder, threads = options.bundle.resolve(), options.threads
    texts = TextMaker(folder / "tokenizer.json", SEED)
    # Below the limit by more special tokens than any template has.
    long_tokens = open_bundle(folder).manifest.input.max_tokens - 8
    short, long = texts.pair(min(SHORT_TOKENS, long_tokens)), texts.pair(long_tokens)
    batch = QUICK_BATCH if options.quick else BATCH

    starts = QUICK_STARTS if options.quick else STARTS
    result["startup_s"] = fresh_processes.starts(folder, threads, short, starts)
    runs: list[dict[str, Any]] = []
    result |= {"long_tokens": long_tokens, "batch": batch, "memory_runs_mb": runs}
    _results.keep(result, options)
    for index in range(QUICK_MEMORY_RUNS if options.quick else MEMORY_RUNS):
        _results.say(f"memory, run {index + 1} ...")
        runs.append(fresh_processes.memory(folder, threads, short, long, batch))
        _results.keep(result, options)
    _results.say(f"{CALLERS} threads, and 10 calls a second ...")
    several = fresh_processes.state(folder, threads, "score", [long] * 4, CALLERS)
    seldom = texts.pair(min(IDLE_TOKENS, long_tokens))
    calls = QUICK_IDLE_CALLS if options.quick else IDLE_CALLS
    result["idle_cpu_ms"] = {str(n): fresh_processes.idle(folder, n, seldom, calls) for n in (1, 2)}
    states = ("import", "load", "first_score", "long_score")
    result["memory_mb"] = {
        **{state: _highest([one[state]["anonymous"] for one in runs]) for state in states},
        "batch_peak": _highest([one["batch"]["peak_anonymous"] for one in runs]),
        "after_batch": _highest([one["batch"]["anonymous"] for one in runs]),
        "after_callers": several["anonymous"],
    }
    _results.finish(result, options)
    print(_tables.startup(result))
    return 0


def _highest(values: Sequence[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


if __name__ == "__main__":
    raise SystemExit(_results.guarded(main))
