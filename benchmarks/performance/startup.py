"""Start-up time, anonymous memory and idle cost, each in fresh processes.

    python -m benchmarks startup harmguard/models/mini

Needs the base install only. The files are in the page cache: one untimed start comes first.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NotRequired, TypedDict

from benchmarks.harness.command import Benchmark, Part, takes_bundle
from benchmarks.harness.results import Run, say
from harmguard.bench import fresh_processes
from harmguard.bench.markdown import STEP_NAMES, number, table
from harmguard.bench.results import STEPS, Startup
from harmguard.bench.text import TextMaker
from harmguard.bundle import open_bundle

STARTS, QUICK_STARTS = 15, 3
MEMORY_RUNS, QUICK_MEMORY_RUNS = 2, 1
BATCH, QUICK_BATCH = 256, 16
SHORT_TOKENS, IDLE_TOKENS = 32, 25
IDLE_CALLS, QUICK_IDLE_CALLS = 100, 5
CALLERS, SEED = 8, 13
STATES = ("import", "load", "first_score", "long_score")


class Figures(TypedDict):
    """The raw result."""

    startup_s: Startup
    long_tokens: int
    batch: int
    memory_runs_mb: list[Any]
    memory_mb: dict[str, float | None]
    idle_cpu_ms: NotRequired[dict[str, float]]


def measure(run: Run) -> Figures:
    """Starts, then memory by state, then what idle threads cost."""
    folder, threads = run.options.bundle.resolve(), run.options.threads
    texts = TextMaker(folder / "tokenizer.json", SEED)
    # Below the limit by more special tokens than any template has.
    long_tokens = open_bundle(folder).manifest.input.max_tokens - 8
    short, long = texts.pair(min(SHORT_TOKENS, long_tokens)), texts.pair(long_tokens)
    batch = run.size(BATCH, QUICK_BATCH)
    starts = fresh_processes.starts(folder, threads, short, run.size(STARTS, QUICK_STARTS))
    memory = []
    for index in range(run.size(MEMORY_RUNS, QUICK_MEMORY_RUNS)):
        say(f"memory, run {index + 1} ...")
        memory.append(fresh_processes.memory(folder, threads, short, long, batch))
        run.keep({"startup_s": starts, "memory_runs_mb": memory})
    say(f"{CALLERS} threads, and 10 calls a second ...")
    several = fresh_processes.state(folder, threads, "score", [long] * 4, CALLERS)
    seldom = texts.pair(min(IDLE_TOKENS, long_tokens))
    calls = run.size(IDLE_CALLS, QUICK_IDLE_CALLS)
    return {
        "startup_s": starts,
        "long_tokens": long_tokens,
        "batch": batch,
        "memory_runs_mb": memory,
        "memory_mb": {
            **{state: _highest(one[state]["anonymous"] for one in memory) for state in STATES},
            "batch_peak": _highest(one["batch"]["peak_anonymous"] for one in memory),
            "after_batch": _highest(one["batch"]["anonymous"] for one in memory),
            "after_callers": several["anonymous"],
        },
        "idle_cpu_ms": {str(n): fresh_processes.idle(folder, n, seldom, calls) for n in (1, 2)},
    }


def _highest(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def tables(result: Figures) -> str:
    """Start-up steps and memory."""
    steps, tokens = result["startup_s"], result["long_tokens"]
    rows = [
        [STEP_NAMES[step], f"{steps[step]['median']:.3f}", f"{steps[step]['p90']:.3f}"]
        for step in STEPS
    ]
    names = {
        "import": "after the import",
        "load": "after loading",
        "first_score": "after the first score",
        "long_score": f"after a score of {tokens} tokens",
        "batch_peak": f"peak of a batch of {result['batch']} pairs of {tokens} tokens",
        "after_batch": "after that batch",
        "after_callers": f"a second after 8 threads that scored {tokens} tokens at once",
    }
    memory = result["memory_mb"]
    states = [[title, number(memory[key], 1)] for key, title in names.items() if key in memory]
    parts = [
        table(["step", "median s", "p90 s"], rows),
        f"n = {steps['total']['n']} fresh processes, files in the page cache.",
        table(["anonymous memory", "MB"], states),
        f"Highest of {len(result['memory_runs_mb'])} fresh processes.",
    ]
    idle = [[f"threads {n}", number(ms, 1)] for n, ms in result.get("idle_cpu_ms", {}).items()]
    if idle:
        head = ["processor at 10 calls a second of 25 tokens", "ms a call"]
        parts.append(table(head, idle))
    return "\n\n".join(parts)


COMMAND = Benchmark(__name__, takes_bundle, measure, tables, parts=[Part(1, 60, 10, "{bundle}")])
