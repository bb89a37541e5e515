"""Throughput on 2,000 pairs with the development set's lengths, against optimum's dynamic int8.

    python -m benchmarks bulk harmguard/models/mini runs/mini
    python -m benchmarks bulk harmguard/models/mini runs/mini --quick

Three ways, interleaved: `score_many`, `score` in a loop, and optimum at the batch size that is
fastest for it on every sixteenth pair. Needs the extras `bench` and `export`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from typing import Any

from benchmarks.harness import _tables
from benchmarks.harness import results as _results
from benchmarks.harness.data import pairs_like_val
from benchmarks.runtimes import sameness as _setup
from benchmarks.runtimes.pool import Worker, turns, workers
from harmguard.bench import stats
from harmguard.bench.text import TextMaker

PAIRS, QUICK_PAIRS = 2000, 200
ROUNDS, QUICK_ROUNDS = 2, 1
BATCHES = (1, 2, 4, 8, 16, 32)
STRIDE = 16
PARTS = 8
"""The pairs are scored in so many parts, and the ways take turns at each."""
SEED = 12


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write the raw JSON, print the table."""
    about = "Throughput of harmguard against optimum int8 at its best batch size."
    options = _results.parser("bulk", about, checkpoint=True).parse_args(arguments)
    result = _results.begin("bulk", options)
    names = ("harmguard", "optimum")
    with ExitStack() as stack:
        optimum = _setup.optimum(options.checkpoint, options.optimum, stack, options.threads)
        started = stack.enter_context(workers(names, options.threads))
        made = _setup.settings(options.bundle, options.checkpoint, optimum, options.threads)
        result["runtimes"] = _setup.load(started, made)
        result["spinning"] = made["spinning"]
        texts = TextMaker(options.bundle / "tokenizer.json", SEED)
        count = QUICK_PAIRS if options.quick else PAIRS
        room = made["max_tokens"] - _setup.specials(started["harmguard"])
        pairs = pairs_like_val(texts, count, room)
        for worker in started.values():
            worker.call("pairs", pairs=pairs)
        _check(started)
        result["pairs"] = count

        def keep(part: dict[str, Any]) -> None:
            result.update(part)
            _results.keep(result, options)

        result |= _measure(started, QUICK_ROUNDS if options.quick else ROUNDS, keep)
    _results.finish(result, options)
    print(_tables.bulk(result))
    return 0


def _check(started: dict[str, Worker]) -> None:
    """Same ids for all, near enough scores on a sample; this warms both up as well."""
    encoded = {name: worker.call("encoded") for name, worker in started.items()}
    _setup.check_encoded("optimum", encoded["optimum"], encoded["harmguard"])
    many = started["harmguard"].call("bulk", batch=0, stride=STRIDE)["scores"]
    one = started["harmguard"].call("one_by_one", stride=STRIDE)["scores"]
    _setup.check_same("score_many", many, one)
    theirs = started["optimum"].call("bulk", batch=1, stride=STRIDE)["scores"]
    _setup.check_scores("optimum", theirs, many, "int8")


def _measure(
    started: dict[str, Worker], rounds: int, keep: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """Find optimum's batch size, then time the three ways in turn; `keep` gets each part."""
    search = _search(started["optimum"])
    best = min(search, key=lambda size: search[size])
    keep({"optimum_search_s": {str(size): taken for size, taken in search.items()}})
    ways: dict[str, tuple[Worker, str, dict[str, int]]] = {
        "score_many": (started["harmguard"], "bulk", {"batch": 0}),
        "one_by_one": (started["harmguard"], "one_by_one", {}),
        "optimum": (started["optimum"], "bulk", {"batch": best}),
    }
    seconds: dict[str, list[list[float]]] = {way: [] for way in ways}
    scores: dict[str, list[float]] = {way: [] for way in ways}
    for index, way in turns(list(ways), PARTS * rounds):
        worker, call, more = ways[way]
        done = worker.call(call, stride=PARTS, first=index % PARTS, **more)
        _results.say(f"part {index + 1} of {PARTS * rounds}: {way} {done['seconds']:.1f} s")
        seconds[way].append([done["seconds"]])
        scores[way] += done["scores"]
        keep({"parts_s": {way: [one[0] for one in taken] for way, taken in seconds.items()}})
    whole = {
        way: [sum(s for (s,) in taken[i * PARTS :][:PARTS]) for i in range(rounds)]
        for way, taken in seconds.items()
    }
    return {
        "score_error": {
            "one_by_one": _setup.distance(scores["one_by_one"], scores["score_many"]),
            "optimum": _setup.distance(scores["optimum"], scores["score_many"]),
        },
        "optimum_batch": best,
        "seconds": {way: asdict(stats.summary(taken)) for way, taken in whole.items()},
        "times_score_many": {
            way: asdict(_ratio(seconds[way], seconds["score_many"]))
            for way in ("one_by_one", "optimum")
        },
        "parts": PARTS,
    }


def _ratio(slow: list[list[float]], fast: list[list[float]]) -> stats.Ratio:
    """As stats.ratio, where the fastest is the sum of each part's fastest round."""
    best = [
        sum(min(s for (s,) in taken[part::PARTS]) for part in range(PARTS))
        for taken in (slow, fast)
    ]
    return replace(stats.ratio(slow, fast), fastest=best[0] / best[1])


def _search(worker: Worker) -> dict[int, float]:
    """Seconds of optimum for every STRIDE-th pair by batch size, the faster of two runs."""
    found: dict[int, float] = {}
    for size in (*BATCHES, *BATCHES):
        taken = float(worker.call("bulk", batch=size, stride=STRIDE)["seconds"])
        found[size] = min(taken, found.get(size, taken))
    _results.say("optimum by batch size: " + ", ".join(f"{k}: {v:.2f} s" for k, v in found.items()))
    return found


if __name__ == "__main__":
    raise SystemExit(_results.guarded(main))
