"""What several guards cost side by side: latency, start-up, memory, size.

    python -m benchmarks guards harmguard/models/mini guards/base guards/multilingual

Each guard is a process of its own, and they take turns, so that what else the machine does falls
on each alike; the first is what the others are compared to. Texts are of the same length in each
guard's own tokens, from text to score. Start-up and memory are of fresh processes, one after the
other. Needs the base install only.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypedDict

from benchmarks.harness.cells import digest, noise
from benchmarks.harness.command import Benchmark, takes_threads
from benchmarks.harness.results import Run, Times, say, times
from benchmarks.performance.speed import latency, ratio
from benchmarks.runtimes import sameness
from benchmarks.runtimes.pool import Worker, turns
from harmguard.bench import fresh_processes, stats
from harmguard.bench.machine import artefact
from harmguard.bench.markdown import number, table
from harmguard.bench.results import Artefact, Timing
from harmguard.bench.text import Exchange, TextMaker
from harmguard.bundle import Bundle, open_bundle

LENGTHS = (32, 128, 512)
TEXTS, SEED = 4, 19
ROUNDS, QUICK_ROUNDS = 12, 2
CALLS, LIMIT_S = 8, 2.0
"""Calls of a guard in its turn, and the seconds after which none begins."""
STARTS, QUICK_STARTS = 9, 2

Texts = dict[int, list[Exchange]]
"""Pairs by length."""


class Cost(TypedDict):
    """One guard's figures; `ms` and `times_first` by length."""

    bundle: Artefact
    ms: dict[str, Timing]
    times_first: dict[str, Times]
    start_s: Timing
    memory_mb: dict[str, float | None]


class Guards(TypedDict):
    """The raw result."""

    guards: list[Cost]


def arguments(parser: argparse.ArgumentParser) -> None:
    """The bundles, and threads."""
    parser.add_argument("bundles", nargs="+", type=Path, metavar="BUNDLE", help="a guard's folder")
    takes_threads(parser)


def measure(run: Run) -> Guards:
    """Latency in turns, then start-up and memory of each."""
    bundles = [open_bundle(folder.resolve()) for folder in run.options.bundles]
    texts, seconds = _in_turns(bundles, run)
    costs: list[Cost] = []
    for index, bundle in enumerate(bundles):
        say(f"start-up and memory of {bundle.manifest.name} ...")
        ms = {n: [[1000 * s for s in one] for one in taken[index]] for n, taken in seconds.items()}
        short, long = texts[index][LENGTHS[0]][0], texts[index][LENGTHS[-1]][0]
        starts = fresh_processes.starts(
            bundle.folder, run.options.threads, short, run.size(STARTS, QUICK_STARTS)
        )
        states = {
            "load": fresh_processes.state(bundle.folder, run.options.threads, "load"),
            "first_score": fresh_processes.state(
                bundle.folder, run.options.threads, "score", [short]
            ),
            "long_score": fresh_processes.state(
                bundle.folder, run.options.threads, "score", [long]
            ),
        }
        costs.append(
            {
                "bundle": artefact(bundle),
                "ms": {str(n): stats.summary(stats.flat(one)).to_json() for n, one in ms.items()},
                "times_first": {str(n): times(s[index], s[0]) for n, s in seconds.items()},
                "start_s": starts["total"],
                "memory_mb": {name: state["anonymous"] for name, state in states.items()},
            }
        )
        run.keep({"guards": costs})
    return {"guards": costs}


def _in_turns(
    bundles: list[Bundle], run: Run
) -> tuple[list[Texts], dict[int, list[list[list[float]]]]]:
    """Each guard's texts; of each length and guard rounds of seconds of a call."""
    with ExitStack() as stack:
        workers, texts = [], []
        for bundle in bundles:
            say(f"loading {bundle.manifest.name} ...")
            worker = stack.enter_context(Worker("harmguard", run.options.threads))
            worker.call(
                "load",
                bundle=str(bundle.folder),
                threads=run.options.threads,
                temperature=bundle.manifest.output.temperature,
            )
            workers.append(worker)
            texts.append(_texts(bundle, sameness.specials(worker)))
        seconds: dict[int, list[list[list[float]]]] = {}
        for tokens in LENGTHS:
            say(f"{tokens} tokens ...")
            seconds[tokens] = [[] for _ in workers]
            for own, worker in zip(texts, workers, strict=True):
                worker.call("pairs", pairs=own[tokens])
            order = [str(index) for index in range(len(workers))]
            for _, name in turns(order, run.size(ROUNDS, QUICK_ROUNDS)):
                took = workers[int(name)].call("time", mode="text", calls=CALLS, limit_s=LIMIT_S)
                seconds[tokens][int(name)].append(took)
    return texts, seconds


def _texts(bundle: Bundle, specials: int) -> Texts:
    """TEXTS pairs of each length, special tokens included, or of as many as the input takes."""
    maker = TextMaker(bundle.folder / "tokenizer.json", SEED)
    longest = bundle.manifest.input.max_tokens
    return {n: [maker.pair(min(n, longest) - specials) for _ in range(TEXTS)] for n in LENGTHS}


def tables(result: Guards) -> str:
    """A column a guard."""
    guards = result["guards"]
    names = [f"{one['bundle']['name']} ({one['bundle']['recipe']})" for one in guards]
    rows: list[list[str]] = []
    for tokens in guards[0]["ms"]:
        rows.append([f"{tokens} tokens, ms", *(latency(one["ms"][tokens]) for one in guards)])
        compared = (ratio(one["times_first"][tokens]) for one in guards[1:])
        rows.append(["times the first", "-", *compared])
    rows.append(
        [
            "process start to first score, s",
            *(number(one["start_s"]["median"], 2) for one in guards),
        ]
    )
    for state, title in (
        ("load", "anonymous memory after loading, MB"),
        ("first_score", f"after a score of {LENGTHS[0]} tokens, MB"),
        ("long_score", f"after a score of {LENGTHS[-1]} tokens, MB"),
    ):
        rows.append([title, *(number(one["memory_mb"][state], 0) for one in guards)])
    rows.append(["folder, MB", *(number(one["bundle"]["bytes"] / 1e6, 1) for one in guards)])
    rows.append(["guard.json sha256", *(f"`{digest(one['bundle'])}`" for one in guards)])
    cells = [cell for one in guards for cell in one["ms"].values()]
    counts = sorted({cell["n"] for cell in cells})
    return "\n\n".join(
        [
            table(["", *names], rows),
            "Latency: median (p90, p99; spread) of "
            + ", ".join(map(str, counts))
            + " calls; ratios: of the fastest calls (range of the turns' medians). Starts: median "
            f"of {guards[0]['start_s']['n']} fresh processes, files in the page cache.",
            noise(cells),
        ]
    )


def ratios(result: Any) -> Iterator[tuple[str, float]]:
    """What two runs must agree on."""
    for one in result["guards"][1:]:
        for tokens, compared in one["times_first"].items():
            yield f"{one['bundle']['name']} / first, {tokens} tokens", compared["fastest"]


COMMAND = Benchmark(__name__, arguments, measure, tables, ratios=ratios)
