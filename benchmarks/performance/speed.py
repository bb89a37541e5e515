"""Latency of one pair at a time against torch and optimum, interleaved in one run.

    python -m benchmarks speed harmguard/models/mini runs/mini
    python -m benchmarks speed harmguard/models/mini runs/mini --quick

Needs the extras `bench` and `export`. Each runtime is a process of its own; only one is awake
at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.harness import _tables
from benchmarks.harness import results as _results
from benchmarks.runtimes import sameness as _setup
from benchmarks.runtimes.pool import Worker, turns, workers
from harmguard.bench import stats
from harmguard.bench.text import TextMaker

LENGTHS = (16, 32, 64, 128, 256, 512)
RUNTIMES = ("harmguard", "torch", "optimum")
MODES = ("text", "ids")
TEXTS = 4
SEED = 11
PASSES, ROUNDS, CALLS, CALLS_LONG = 4, 3, 9, 5
"""A slow mode of the machine may last through all rounds of one length; not through all passes."""
QUICK_CALLS = 2
LONG = 256
"""From this length on a call takes so long that fewer of them give the same precision."""

Seconds = dict[str, dict[str, list[list[float]]]]
"""Of each mode and runtime: rounds of seconds of a call."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write the raw JSON, print the table."""
    about = "Latency of harmguard against torch fp32 and optimum int8, batch 1."
    options = _results.parser("speed", about, checkpoint=True).parse_args(arguments)
    result = _results.begin("speed", options)
    with ExitStack() as stack:
        optimum = _setup.optimum(options.checkpoint, options.optimum, stack, options.threads)
        started = stack.enter_context(workers(RUNTIMES, options.threads))
        made = _setup.settings(options.bundle, options.checkpoint, optimum, options.threads)
        result["runtimes"] = _setup.load(started, made)
        result["spinning"] = made["spinning"]
        lengths = [n for n in LENGTHS if n <= made["max_tokens"]]
        pairs = _pairs(options.bundle, lengths, _setup.specials(started["harmguard"]))
        errors: dict[int, Any] = {}
        seconds: dict[int, Seconds] = {}
        for _ in range(1 if options.quick else PASSES):
            for tokens in lengths:
                _results.say(f"{tokens} tokens ...")
                for worker in started.values():
                    worker.call("pairs", pairs=pairs[tokens])
                if tokens not in errors:
                    errors[tokens] = _check(started, result["bundle"]["recipe"], tokens)
                    seconds[tokens] = {mode: {name: [] for name in started} for mode in MODES}
                _time(tokens, started, seconds[tokens], quick=options.quick)
                result["lengths"] = [
                    {"tokens": n, "score_error": errors[n]}
                    | {mode: _figures(rounds) for mode, rounds in seconds[n].items()}
                    for n in errors
                ]
                _results.keep(result, options)
    _results.finish(result, options)
    print(_tables.speed(result))
    return 0


def _pairs(bundle: Path, lengths: Sequence[int], specials: int) -> dict[int, Any]:
    """TEXTS pairs of each length in tokens."""
    texts = TextMaker(bundle / "tokenizer.json", SEED)
    return {n: [texts.pair(n - specials) for _ in range(TEXTS)] for n in lengths}


def _time(tokens: int, started: dict[str, Worker], seconds: Seconds, *, quick: bool) -> None:
    """Add the rounds of one pass at one length."""
    calls = QUICK_CALLS if quick else CALLS if tokens < LONG else CALLS_LONG
    for _, name in turns(list(started), ROUNDS):
        for mode in MODES:
            seconds[mode][name].append(started[name].call("time", mode=mode, calls=calls))


def _check(started: dict[str, Worker], recipe: str, tokens: int) -> dict[str, dict[str, float]]:
    """Same ids, near enough scores; raises OutputsDifferError before anything is timed."""
    encoded = {name: worker.call("encoded") for name, worker in started.items()}
    assert {len(ids) for ids, _ in encoded["harmguard"]} == {tokens}
    for name in RUNTIMES[1:]:
        _setup.check_encoded(name, encoded[name], encoded["harmguard"])
    scores = {name: worker.call("scores", mode="text") for name, worker in started.items()}
    for name, worker in started.items():
        _setup.check_same(f"{name}, bare", worker.call("scores", mode="ids"), scores[name])
    return {
        "harmguard": _setup.check_scores("harmguard", scores["harmguard"], scores["torch"], recipe),
        "optimum": _setup.check_scores("optimum", scores["optimum"], scores["torch"], "int8"),
    }


def _figures(rounds: dict[str, list[list[float]]]) -> dict[str, Any]:
    """Milliseconds of each runtime, and how many times longer the others take."""
    ours = rounds["harmguard"]
    return {
        "ms": {
            name: asdict(stats.summary([1000 * s for s in stats.flat(taken)]))
            for name, taken in rounds.items()
        },
        "times_harmguard": {name: asdict(stats.ratio(rounds[name], ours)) for name in RUNTIMES[1:]},
        "rounds_ms": {
            name: [[round(1000 * s, 4) for s in one] for one in taken]
            for name, taken in rounds.items()
        },
    }


if __name__ == "__main__":
    raise SystemExit(_results.guarded(main))
