"""Throughput on 2,000 pairs with the development set's lengths, against optimum's dynamic int8.

    python -m benchmarks bulk harmguard/models/mini runs/mini

Three ways, interleaved: `score_many`, `score` in a loop, and optimum at the batch size that is
fastest for it on every sixteenth pair. Needs the extras `bench` and `export`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, NotRequired, TypedDict

from benchmarks.harness.command import Benchmark, Part
from benchmarks.harness.data import pairs_like_val
from benchmarks.harness.results import Run, Times, say, times
from benchmarks.performance.speed import ratio
from benchmarks.runtimes import sameness
from benchmarks.runtimes.pool import Worker, turns
from harmguard.bench import stats
from harmguard.bench.markdown import table
from harmguard.bench.results import Timing
from harmguard.bench.text import TextMaker

PAIRS, QUICK_PAIRS = 2000, 200
ROUNDS, QUICK_ROUNDS = 2, 1
BATCHES = (1, 2, 4, 8, 16, 32)
STRIDE, SEED = 16, 12
PARTS = 8
"""The pairs are scored in so many parts, and the ways take turns at each."""


class Bulk(TypedDict):
    """The raw result; optimum's search is in seconds by batch size."""

    runtimes: NotRequired[dict[str, Any]]
    spinning: NotRequired[str]
    pairs: int
    parts: int
    optimum_search_s: dict[str, float]
    optimum_batch: int
    parts_s: NotRequired[dict[str, list[float]]]
    seconds: dict[str, Timing]
    times_score_many: dict[str, Times]
    score_error: NotRequired[dict[str, sameness.Distance]]


def measure(run: Run) -> Bulk:
    """Find optimum's batch size, then time the three ways in turn."""
    with ExitStack() as stack:
        workers, settings, loaded = sameness.started(stack, ("harmguard", "optimum"), run.options)
        texts = TextMaker(run.options.bundle / "tokenizer.json", SEED)
        room = settings["max_tokens"] - sameness.specials(workers["harmguard"])
        pairs = pairs_like_val(texts, run.size(PAIRS, QUICK_PAIRS), room)
        for worker in workers.values():
            worker.call("pairs", pairs=pairs)
        _check(workers)
        search = _search(workers["optimum"])
        best = min(search, key=lambda size: search[size])
        ways: dict[str, tuple[Worker, str, dict[str, int]]] = {
            "score_many": (workers["harmguard"], "bulk", {"batch": 0}),
            "one_by_one": (workers["harmguard"], "one_by_one", {}),
            "optimum": (workers["optimum"], "bulk", {"batch": best}),
        }
        rounds = run.size(ROUNDS, QUICK_ROUNDS)
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        scores: dict[str, list[float]] = {way: [] for way in ways}
        for index, way in turns(list(ways), PARTS * rounds):
            worker, call, more = ways[way]
            done = worker.call(call, stride=PARTS, first=index % PARTS, **more)
            say(f"part {index + 1} of {PARTS * rounds}: {way} {done['seconds']:.1f} s")
            seconds[way].append(done["seconds"])
            scores[way] += done["scores"]
            run.keep({"optimum_search_s": search, "parts_s": seconds})
    others = ("one_by_one", "optimum")
    return {
        "runtimes": loaded,
        "spinning": settings["spinning"],
        "pairs": len(pairs),
        "parts": PARTS,
        "optimum_search_s": {str(size): taken for size, taken in search.items()},
        "optimum_batch": best,
        "parts_s": seconds,
        "seconds": {
            way: stats.summary([sum(taken[i * PARTS :][:PARTS]) for i in range(rounds)]).to_json()
            for way, taken in seconds.items()
        },
        "times_score_many": {w: _times(seconds[w], seconds["score_many"]) for w in others},
        "score_error": {w: sameness.distance(scores[w], scores["score_many"]) for w in others},
    }


def _check(workers: dict[str, Worker]) -> None:
    """Same ids for all, near enough scores on a sample; this warms both up as well."""
    encoded = {name: worker.call("encoded") for name, worker in workers.items()}
    sameness.check_encoded("optimum", encoded["optimum"], encoded["harmguard"])
    many = workers["harmguard"].call("bulk", batch=0, stride=STRIDE)["scores"]
    single = workers["harmguard"].call("one_by_one", stride=STRIDE)["scores"]
    sameness.check_same("score_many", many, single)
    theirs = workers["optimum"].call("bulk", batch=1, stride=STRIDE)["scores"]
    sameness.check_scores("optimum", theirs, many, "int8")


def _times(slow: list[float], fast: list[float]) -> Times:
    """As `times`, where the fastest is the sum of each part's fastest round."""
    best = [sum(min(taken[part::PARTS]) for part in range(PARTS)) for taken in (slow, fast)]
    return {**times([[s] for s in slow], [[s] for s in fast]), "fastest": best[0] / best[1]}


def _search(worker: Worker) -> dict[int, float]:
    """Seconds of optimum for every STRIDE-th pair by batch size, the faster of two runs."""
    fastest: dict[int, float] = {}
    for size in (*BATCHES, *BATCHES):
        taken = float(worker.call("bulk", batch=size, stride=STRIDE)["seconds"])
        fastest[size] = min(taken, fastest.get(size, taken))
    say("optimum by batch size: " + ", ".join(f"{k}: {v:.2f} s" for k, v in fastest.items()))
    return fastest


def tables(result: Bulk) -> str:
    """A row for each of the three ways."""
    titles = {
        "score_many": "harmguard `score_many`",
        "one_by_one": "harmguard `score`, one by one",
        "optimum": f"optimum dynamic int8, batches of {result['optimum_batch']}",
    }
    rows = []
    for way, title in titles.items():
        median, times_ = result["seconds"][way]["median"], result["times_score_many"].get(way)
        pace = f"{result['pairs'] / median:.1f}"
        rows.append([title, f"{median:.1f}", pace, ratio(times_) if times_ else "1"])
    search = ", ".join(f"{k}: {v:.2f} s" for k, v in result["optimum_search_s"].items())
    return (
        table(["way", "s", "pairs / s", "time / score_many"], rows)
        + f"\n\n{result['pairs']} pairs in {result['parts']} parts at which the ways took turns, "
        f"median of {result['seconds']['score_many']['n']} rounds (ratio: of the fastest, range "
        f"of the parts). Optimum by batch size, on every sixteenth pair: {search}."
    )


def ratios(result: Bulk) -> Iterator[tuple[str, float]]:
    """What two runs must agree on."""
    for name, one in result["times_score_many"].items():
        yield f"{name} / score_many", one["fastest"]


PLACES = [Part(6, 420, 30, "{bundle} {checkpoint} --optimum {optimum}")]
COMMAND = Benchmark(
    __name__, sameness.takes_checkpoint, measure, tables, ratios=ratios, parts=PLACES
)
