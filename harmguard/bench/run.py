"""Measures one bundle on this machine: everything that `harmguard bench` prints."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harmguard.bench import fresh_processes, stats
from harmguard.bench.machine import artefact, describe
from harmguard.bench.text import Pair, TextMaker
from harmguard.bundle import Bundle, open_bundle
from harmguard.errors import BenchError, TooFewSamplesError, UnverifiedBundleWarning
from harmguard.guard import HarmGuard
from harmguard.verify import replay_golden

LENGTHS = (16, 32, 64, 128, 256, 512)
SMALL_LENGTHS = (32, 128, 512)
MIN_SAMPLES = 10
"""With fewer, the 90th percentile is only the slowest call."""
CELL_S = 20.0
"""At most this long is spent on one length with one number of threads."""
NOISY = 0.25
"""Above this spread, (p90 - p10) / median, a figure says more about the machine's other work."""
SAME = 0.002
"""Scores with different numbers of threads: only the order of additions differs."""
ROUNDS, TEXTS, SEED = 5, 4, 17
BULK_PAIRS, BULK_ROUNDS = 64, 3
STARTS, BATCH = 10, 32

Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """What to measure: `samples` timings for each length, with 1 thread and with `threads`."""

    bundle: Path
    threads: int
    samples: int

    def __post_init__(self) -> None:
        """Raise TooFewSamplesError for fewer samples than a median and a tail need."""
        if self.samples < MIN_SAMPLES:
            raise TooFewSamplesError(
                f"{self.samples} samples; expected at least {MIN_SAMPLES}, or the 90th percentile "
                "is only the slowest call"
            )


def measure(plan: Plan, say: Say) -> dict[str, Any]:
    """Measure all; a part that fails is {"error": "CLASS: why"} in the result, the rest is kept.

    Stopped from the keyboard, the running part and those after it have an error, too.
    Keys: machine, bundle, latency_ms, memory_mb, startup_s, throughput. The golden pairs are
    replayed first: nothing is timed that does not compute what the bundle says. Raises
    BundleError for a bundle that cannot be used or does not give its golden scores.
    """
    bundle = open_bundle(plan.bundle)
    say("golden pairs ...")
    with _guard(bundle, plan.threads) as guard:
        rows, worst, _ = replay_golden(bundle, guard)
    golden = {"rows": rows, "worst_error": round(worst, 6)}
    result: dict[str, Any] = {
        "machine": describe(),
        "bundle": {**artefact(bundle), "golden": golden},
    }
    work, kept = _Work(bundle, plan, say), _Kept()
    result["latency_ms"] = kept(work.latency)
    result["throughput"] = kept(work.throughput)
    result["startup_s"] = kept(work.startup)
    result["memory_mb"] = kept(work.memory)
    memory = result["memory_mb"].get("batch", {}).get("peak_anonymous")
    result["latency_ms"]["small_device"] = kept(lambda: work.small_device(memory))
    result["machine"]["noise"] = noise(result["latency_ms"])
    return result


def failures(result: dict[str, Any]) -> list[str]:
    """Every error that `measure` kept in its result."""
    found: list[str] = []
    for value in result.values():
        if isinstance(value, dict):
            found += [value["error"]] if "error" in value else failures(value)
    return found


def noise(latency: dict[str, Any]) -> dict[str, Any]:
    """The largest spread of the latencies, and whether it is above the bound."""
    cells = [cell for by in latency.get("threads", {}).values() for cell in by.values()]
    spreads = [cell["spread"] for cell in cells if "spread" in cell]
    worst = max(spreads, default=None)
    return {
        "bound": NOISY,
        "worst_spread": None if worst is None else round(worst, 4),
        "noisy": worst is not None and worst > NOISY,
    }


class _Work:
    """The measurements of one bundle, each a method that returns its part of the result."""

    def __init__(self, bundle: Bundle, plan: Plan, say: Say) -> None:
        self._bundle, self._plan, self._say = bundle, plan, say
        spec = bundle.manifest.input
        specials = sum(piece.text is None for piece in spec.template.exchange)
        self._longest = spec.max_tokens - specials
        self._texts = TextMaker(bundle.path("tokenizer.json"), SEED)
        fitting = [n for n in LENGTHS if n <= spec.max_tokens] or [spec.max_tokens]
        self._pairs = {n: [self._texts.pair(n - specials) for _ in range(TEXTS)] for n in fitting}

    def latency(self) -> dict[str, Any]:
        """Milliseconds by threads and tokens, from text to score, special tokens counted."""
        counts = sorted({1, self._plan.threads})
        seconds: dict[int, dict[int, list[float]]] = {
            t: {n: [] for n in self._pairs} for t in counts
        }
        scores: dict[int, list[float]] = {}
        for index in range(ROUNDS):
            shift = index % len(counts)
            for threads in counts[shift:] + counts[:shift]:
                self._say(f"latency, round {index + 1} of {ROUNDS}, threads {threads} ...")
                # One guard at a time: the idle threads of a second one would take its cores.
                with _guard(self._bundle, threads) as guard:
                    scores[threads] = [guard.score(*pairs[0]) for pairs in self._pairs.values()]
                    for tokens, pairs in self._pairs.items():
                        seconds[threads][tokens] += self._time(guard, pairs)
        _check_same(scores)
        cells = {
            str(t): {str(n): _cell(taken) for n, taken in by.items()} for t, by in seconds.items()
        }
        return {"threads": cells}

    def _time(self, guard: HarmGuard, pairs: Sequence[Pair]) -> list[float]:
        calls = math.ceil(self._plan.samples / ROUNDS)
        seconds: list[float] = []
        guard.score(*pairs[0])
        while len(seconds) < calls and sum(seconds) < CELL_S / ROUNDS:
            pair = pairs[len(seconds) % len(pairs)]
            before = time.perf_counter()
            guard.score(*pair)
            seconds.append(time.perf_counter() - before)
        return seconds

    def throughput(self) -> dict[str, Any]:
        """Pairs in a second, in bulk and one by one, of lengths from 16 tokens to the limit."""
        shortest = min(16, self._longest)
        pairs = self._texts.mixed_pairs(BULK_PAIRS, shortest, self._longest)
        seconds: dict[str, list[float]] = {"score_many": [], "one_by_one": []}
        with _guard(self._bundle, self._plan.threads) as guard:
            ways: dict[str, Callable[[], object]] = {
                "score_many": lambda: guard.score_many(pairs),
                "one_by_one": lambda: [guard.score(*pair) for pair in pairs],
            }
            guard.score_many(pairs[:8])
            for index in range(BULK_ROUNDS):
                self._say(f"throughput, round {index + 1} of {BULK_ROUNDS} ...")
                for way in sorted(ways, reverse=bool(index % 2)):
                    before = time.perf_counter()
                    ways[way]()
                    seconds[way].append(time.perf_counter() - before)
        return {
            "threads": self._plan.threads,
            "pairs": len(pairs),
            "tokens": [shortest, self._longest],
            **{
                f"{way}_pairs_per_s": round(len(pairs) / stats.percentile(taken, 0.5), 3)
                for way, taken in seconds.items()
            },
            "rounds_s": seconds,
        }

    def startup(self) -> dict[str, Any]:
        """Seconds of each step from before the process exists to its first score."""
        self._say(f"start-up, {STARTS} processes ...")
        folder = self._bundle.folder.resolve()
        return fresh_processes.starts(folder, self._plan.threads, self._short(), STARTS)

    def memory(self) -> dict[str, Any]:
        """MB by state of a process, from one process each."""
        self._say("memory ...")
        folder = self._bundle.folder.resolve()
        long = self._texts.pair(self._longest)
        return {
            **fresh_processes.memory(folder, self._plan.threads, self._short(), long, BATCH),
            "long_tokens": self._longest,
            "batch_pairs": BATCH,
        }

    def small_device(self, stated_mb: float | None) -> dict[str, Any]:
        """Latency on one core within the stated memory and a quarter."""
        self._say("one core, limited memory ...")
        timed = {n: self._pairs[n][0] for n in SMALL_LENGTHS if n in self._pairs}
        timed = timed or {n: pairs[0] for n, pairs in self._pairs.items()}
        batch = [self._texts.pair(self._longest)] * BATCH
        folder = self._bundle.folder.resolve()
        return fresh_processes.small_device(folder, stated_mb, batch, timed, MIN_SAMPLES)

    def _short(self) -> Pair:
        return self._texts.pair(min(32, self._longest))


def _guard(bundle: Bundle, threads: int) -> HarmGuard:
    with warnings.catch_warnings():
        # The golden pairs are replayed here, and no decision is taken on the scores.
        warnings.simplefilter("ignore", UnverifiedBundleWarning)
        return HarmGuard(bundle.folder, threads=threads)


class _Kept:
    """Runs part after part; a failure becomes that part's result, Ctrl-C that of all to come."""

    def __init__(self) -> None:
        self._stopped = False

    def __call__(self, part: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        if self._stopped:
            return {"error": "BenchError: not begun: stopped from the keyboard"}
        try:
            return part()
        except KeyboardInterrupt:
            self._stopped = True
            return {"error": "BenchError: stopped from the keyboard"}
        except BenchError as error:
            return {"error": f"{type(error).__name__}: {error}"}
        # onnxruntime's own errors have no common class; the texts here are the benchmark's.
        except Exception as error:
            return {"error": f"BenchError: {type(error).__name__}: {error}"}


def _cell(seconds: list[float]) -> dict[str, Any]:
    if len(seconds) < MIN_SAMPLES:
        error = TooFewSamplesError(
            f"{len(seconds)} calls in {sum(seconds):.0f} s; expected at least {MIN_SAMPLES}; "
            "likely a guard that is too large for this machine"
        )
        return {"error": f"{type(error).__name__}: {error}"}
    found = asdict(stats.summary([1000 * taken for taken in seconds]))
    return {k: v if v is None else round(v, 4) for k, v in found.items()}


def _check_same(scores: dict[int, list[float]]) -> None:
    """BenchError unless every number of threads gave the same scores."""
    first, *others = scores.values()
    worst = max(
        (abs(a - b) for other in others for a, b in zip(first, other, strict=True)), default=0.0
    )
    if worst > SAME:
        raise BenchError(
            f"scores differ by up to {worst:.4f} between numbers of threads; expected at most "
            f"{SAME}; likely a damaged onnxruntime"
        )
