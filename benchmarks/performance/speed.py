"""Latency of one pair at a time against torch and optimum, interleaved in one run.

    python -m benchmarks speed harmguard/models/mini runs/mini

Needs the extras `bench` and `export`. Each runtime is a process of its own; only one is awake
at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from benchmarks.harness.cells import NAMES, noise
from benchmarks.harness.command import Benchmark, Part
from benchmarks.harness.results import Run, Times, say, times
from benchmarks.runtimes import sameness
from benchmarks.runtimes.pool import Worker, turns
from harmguard.bench import stats
from harmguard.bench.markdown import table
from harmguard.bench.results import Timing
from harmguard.bench.text import TextMaker

LENGTHS = (16, 32, 64, 128, 256, 512)
RUNTIMES = ("harmguard", "torch", "optimum")
MODES = {
    "text": "From text to score (tokenizer and wrapper included)",
    "ids": "The bare model, from ids to score",
}
TEXTS, SEED = 4, 11
PASSES, ROUNDS, CALLS, CALLS_LONG, QUICK_CALLS = 4, 3, 9, 5, 2
"""A slow mode of the machine may last through all rounds of one length; not through all passes."""
LONG = 256
"""From this length on a call takes so long that fewer of them give the same precision."""

Seconds = dict[str, dict[str, list[list[float]]]]
"""Of each mode and runtime: rounds of seconds of a call."""


class Mode(TypedDict):
    """Milliseconds of each runtime, and how many times longer the others take."""

    ms: dict[str, Timing]
    times_harmguard: dict[str, Times]
    rounds_ms: NotRequired[dict[str, list[list[float]]]]


class Length(TypedDict):
    """What was measured with texts of one length."""

    tokens: int
    score_error: dict[str, sameness.Distance]
    text: Mode
    ids: Mode


class Speed(TypedDict):
    """The raw result."""

    runtimes: NotRequired[dict[str, Any]]
    spinning: NotRequired[str]
    lengths: list[Length]


def measure(run: Run) -> Speed:
    """Errors at the first pass, times at each."""
    with ExitStack() as stack:
        workers, settings, loaded = sameness.started(stack, RUNTIMES, run.options)
        figures: Speed = {"runtimes": loaded, "spinning": settings["spinning"], "lengths": []}
        lengths = [n for n in LENGTHS if n <= settings["max_tokens"]]
        pairs = _pairs(run.options.bundle, lengths, sameness.specials(workers["harmguard"]))
        errors: dict[int, dict[str, sameness.Distance]] = {}
        seconds: dict[int, Seconds] = {}
        for _ in range(run.size(PASSES, 1)):
            for tokens in lengths:
                say(f"{tokens} tokens ...")
                for worker in workers.values():
                    worker.call("pairs", pairs=pairs[tokens])
                if tokens not in errors:
                    errors[tokens] = _check(workers, run.head["bundle"]["recipe"], tokens)
                    seconds[tokens] = {mode: {name: [] for name in workers} for mode in MODES}
                _time(tokens, workers, seconds[tokens], quick=run.quick)
                figures["lengths"] = [
                    {"tokens": n, "score_error": errors[n], "text": _mode(seconds[n]["text"]),
                     "ids": _mode(seconds[n]["ids"])}
                    for n in errors
                ]  # fmt: skip
                run.keep(figures)
    return figures


def _pairs(bundle: Path, lengths: Sequence[int], specials: int) -> dict[int, Any]:
    """TEXTS pairs of each length in tokens."""
    texts = TextMaker(bundle / "tokenizer.json", SEED)
    return {n: [texts.pair(n - specials) for _ in range(TEXTS)] for n in lengths}


def _time(tokens: int, workers: dict[str, Worker], seconds: Seconds, *, quick: bool) -> None:
    """Add the rounds of one pass at one length."""
    calls = QUICK_CALLS if quick else CALLS if tokens < LONG else CALLS_LONG
    for _, name in turns(list(workers), ROUNDS):
        for mode in MODES:
            seconds[mode][name].append(workers[name].call("time", mode=mode, calls=calls))


def _check(workers: dict[str, Worker], recipe: str, tokens: int) -> dict[str, sameness.Distance]:
    """Same ids, near enough scores; raises OutputsDifferError before anything is timed."""
    encoded = {name: worker.call("encoded") for name, worker in workers.items()}
    assert {len(ids) for ids, _ in encoded["harmguard"]} == {tokens}
    for name in RUNTIMES[1:]:
        sameness.check_encoded(name, encoded[name], encoded["harmguard"])
    scores = {name: worker.call("scores", mode="text") for name, worker in workers.items()}
    for name, worker in workers.items():
        sameness.check_same(f"{name}, bare", worker.call("scores", mode="ids"), scores[name])
    return {
        name: sameness.check_scores(name, scores[name], scores["torch"], of)
        for name, of in (("harmguard", recipe), ("optimum", "int8"))
    }


def _mode(rounds: dict[str, list[list[float]]]) -> Mode:
    ms = {name: [[1000 * s for s in one] for one in taken] for name, taken in rounds.items()}
    return {
        "ms": {name: stats.summary(stats.flat(taken)).to_json() for name, taken in ms.items()},
        "times_harmguard": {n: times(rounds[n], rounds["harmguard"]) for n in RUNTIMES[1:]},
        "rounds_ms": {n: [[round(x, 4) for x in one] for one in taken] for n, taken in ms.items()},
    }


def tables(result: Speed) -> str:
    """Latency by length, once from text and once for the bare model."""
    modes = {mode: [_of(length, mode) for length in result["lengths"]] for mode in MODES}
    parts = []
    for mode, title in MODES.items():
        first = modes[mode][0]
        head = ["tokens", *(f"{NAMES[name]}, ms" for name in first["ms"])]
        head += [f"{name} / harmguard" for name in first["times_harmguard"]]
        rows = [
            [str(length["tokens"]), *map(latency, one["ms"].values()),
             *map(ratio, one["times_harmguard"].values())]
            for length, one in zip(result["lengths"], modes[mode], strict=True)
        ]  # fmt: skip
        parts.append(f"{title}:\n\n{table(head, rows)}")
    counts = sorted({one["ms"]["harmguard"]["n"] for one in modes["text"]})
    parts.append(
        "Each cell: median (p90, p99; spread), with n = "
        + ", ".join(map(str, counts))
        + " by length; p99 is left out below n = 100, spread is (p90 - p10) / median. "
        "Each ratio: of the fastest runs (range of the rounds' medians). "
        f"Score error against torch fp32: harmguard {_worst(result, 'harmguard')}, "
        f"optimum {_worst(result, 'optimum')} at most."
    )
    parts.append(
        noise(cell for own in modes.values() for one in own for cell in one["ms"].values())
    )
    return "\n\n".join(parts)


def latency(taken: Timing) -> str:
    """Median, tails and spread."""
    p99 = f", {taken['p99']:.1f}" if taken["p99"] is not None else ""
    return f"{taken['median']:.1f} ({taken['p90']:.1f}{p99}; {taken['spread']:.0%})"


def ratio(one: Times) -> str:
    """A ratio with its range."""
    return f"{one['fastest']:.2f} ({one['low']:.2f} to {one['high']:.2f})"


def ratios(result: Speed) -> Iterator[tuple[str, float]]:
    """What two runs must agree on."""
    for length in result["lengths"]:
        for mode in MODES:
            for name, one in _of(length, mode)["times_harmguard"].items():
                yield f"{name} / harmguard, {mode}, {length['tokens']} tokens", one["fastest"]


def _of(length: Length, mode: str) -> Mode:
    return length["text"] if mode == "text" else length["ids"]


def _worst(result: Speed, name: str) -> str:
    return f"{max(one['score_error'][name]['max'] for one in result['lengths']):.3f}"


PLACES = [Part(5, 180, 40, "{bundle} {checkpoint} --optimum {optimum}")]
COMMAND = Benchmark(
    __name__, sameness.takes_checkpoint, measure, tables, ratios=ratios, parts=PLACES
)
