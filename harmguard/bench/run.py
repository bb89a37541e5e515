"""Measures one bundle on this machine: everything that `harmguard bench` prints."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from harmguard.bench import fresh_processes, stats
from harmguard.bench.machine import artefact, describe
from harmguard.bench.results import (
    Failed,
    Latency,
    Measurement,
    Memory,
    Noise,
    SmallDevice,
    Startup,
    Throughput,
    Timing,
)
from harmguard.bench.text import Exchange, TextMaker
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
Part = TypeVar("Part")


@dataclass(frozen=True)
class Settings:
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


def measure(settings: Settings, say: Say) -> Measurement:
    """Measure all; a part that fails is {"error": "CLASS: why"} in the result, the rest is kept.

    Stopped from the keyboard, the running part and those after it have an error, too.
    The golden pairs are replayed first: nothing is timed that does not compute what the bundle
    says. Raises BundleError for a bundle that cannot be used or does not give its golden scores.
    """
    bundle = open_bundle(settings.bundle)
    say("golden pairs ...")
    with _guard(bundle, settings.threads) as guard:
        rows, worst, _ = replay_golden(bundle, guard)
    work, attempt = _Work(bundle, settings, say), _Attempts()
    machine = describe()
    timed = attempt(work.latency)
    latency: Latency = {"error": timed["error"]} if "error" in timed else {**timed}
    throughput, startup = attempt(work.throughput), attempt(work.startup)
    memory = attempt(work.memory)
    peak = None if "error" in memory else memory["batch"]["peak_anonymous"]
    latency["small_device"] = attempt(lambda: work.small_device(peak))
    return {
        "machine": {**machine, "noise": noise(latency)},
        "bundle": {**artefact(bundle), "golden": {"rows": rows, "worst_error": round(worst, 6)}},
        "latency_ms": latency,
        "throughput": throughput,
        "startup_s": startup,
        "memory_mb": memory,
    }


def failures(result: Mapping[str, object]) -> list[str]:
    """Every error that `measure` kept in its result."""
    errors: list[str] = []
    for value in result.values():
        if isinstance(value, dict):
            errors += [value["error"]] if "error" in value else failures(value)
    return errors


def noise(latency: Latency) -> Noise:
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

    def __init__(self, bundle: Bundle, settings: Settings, say: Say) -> None:
        self._bundle, self._settings, self._say = bundle, settings, say
        spec = bundle.manifest.input
        specials = sum(piece.text is None for piece in spec.template.exchange)
        self._longest = spec.max_tokens - specials
        self._texts = TextMaker(bundle.path("tokenizer.json"), SEED)
        fitting = [n for n in LENGTHS if n <= spec.max_tokens] or [spec.max_tokens]
        self._pairs = {n: [self._texts.pair(n - specials) for _ in range(TEXTS)] for n in fitting}

    def latency(self) -> Latency:
        """Milliseconds by threads and tokens, from text to score, special tokens counted."""
        counts = sorted({1, self._settings.threads})
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

    def _time(self, guard: HarmGuard, pairs: Sequence[Exchange]) -> list[float]:
        calls = math.ceil(self._settings.samples / ROUNDS)
        seconds: list[float] = []
        guard.score(*pairs[0])
        while len(seconds) < calls and sum(seconds) < CELL_S / ROUNDS:
            pair = pairs[len(seconds) % len(pairs)]
            before = time.perf_counter()
            guard.score(*pair)
            seconds.append(time.perf_counter() - before)
        return seconds

    def throughput(self) -> Throughput:
        """Pairs in a second, in bulk and one by one, of lengths from 16 tokens to the limit."""
        shortest = min(16, self._longest)
        pairs = self._texts.mixed_pairs(BULK_PAIRS, shortest, self._longest)
        seconds: dict[str, list[float]] = {"score_many": [], "one_by_one": []}
        with _guard(self._bundle, self._settings.threads) as guard:
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
            "threads": self._settings.threads,
            "pairs": len(pairs),
            "tokens": [shortest, self._longest],
            "score_many_pairs_per_s": _rate(len(pairs), seconds["score_many"]),
            "one_by_one_pairs_per_s": _rate(len(pairs), seconds["one_by_one"]),
            "rounds_s": seconds,
        }

    def startup(self) -> Startup:
        """Seconds of each step from before the process exists to its first score."""
        self._say(f"start-up, {STARTS} processes ...")
        folder = self._bundle.folder.resolve()
        return fresh_processes.starts(folder, self._settings.threads, self._short(), STARTS)

    def memory(self) -> Memory:
        """MB by state of a process, from one process each."""
        self._say("memory ...")
        folder = self._bundle.folder.resolve()
        long = self._texts.pair(self._longest)
        states = fresh_processes.memory(folder, self._settings.threads, self._short(), long, BATCH)
        return {
            "import": states["import"],
            "load": states["load"],
            "first_score": states["first_score"],
            "long_score": states["long_score"],
            "batch": states["batch"],
            "long_tokens": self._longest,
            "batch_pairs": BATCH,
        }

    def small_device(self, stated_mb: float | None) -> SmallDevice:
        """Latency on one core within the stated memory and a quarter."""
        self._say("one core, limited memory ...")
        timed = {n: self._pairs[n][0] for n in SMALL_LENGTHS if n in self._pairs}
        timed = timed or {n: pairs[0] for n, pairs in self._pairs.items()}
        batch = [self._texts.pair(self._longest)] * BATCH
        folder = self._bundle.folder.resolve()
        return fresh_processes.small_device(folder, stated_mb, batch, timed, MIN_SAMPLES)

    def _short(self) -> Exchange:
        return self._texts.pair(min(32, self._longest))


def _guard(bundle: Bundle, threads: int) -> HarmGuard:
    with warnings.catch_warnings():
        # The golden pairs are replayed here, and no decision is taken on the scores.
        warnings.simplefilter("ignore", UnverifiedBundleWarning)
        return HarmGuard(bundle.folder, threads=threads)


class _Attempts:
    """Runs part after part; a failure becomes that part's result, Ctrl-C that of all to come."""

    def __init__(self) -> None:
        self._stopped = False

    def __call__(self, part: Callable[[], Part]) -> Part | Failed:
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


def _rate(pairs: int, seconds: list[float]) -> float:
    return round(pairs / stats.percentile(seconds, 0.5), 3)


def _cell(seconds: list[float]) -> Timing | Failed:
    if len(seconds) < MIN_SAMPLES:
        error = TooFewSamplesError(
            f"{len(seconds)} calls in {sum(seconds):.0f} s; expected at least {MIN_SAMPLES}; "
            "likely a guard that is too large for this machine"
        )
        return {"error": f"{type(error).__name__}: {error}"}
    return stats.summary([1000 * taken for taken in seconds]).to_json(digits=4)


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
