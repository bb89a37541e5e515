"""What a user might pick instead, with the same work, interleaved in one run.

    python -m benchmarks peers mini
    python -m benchmarks peers mini --checkpoint runs/mini --quick
    python -m benchmarks peers 435m --cache FOLDER
    python -m benchmarks peers 435m --prepare        # environments and converted models only

Each peer lives in an environment of its own, made once in the cache, as the converted models are:
a peer that cannot be installed, converted or run is listed as missing, with the reason, and the
rest goes on. Without a checkpoint, mini's is rebuilt from the shipped bundle, and 435m's weights
are random. Needs the extras `bench` and `export`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.harness.command import Benchmark, Part, takes_threads
from benchmarks.harness.errors import OutputsDifferError, WorkerError
from benchmarks.harness.results import Run, say, times
from benchmarks.performance import _peers_table
from benchmarks.performance._peers_table import Peers, Row
from benchmarks.runtimes.models import (
    ANCHOR,
    CACHE,
    CACHE_HELP,
    PEERS,
    REFERENCE,
    SIZES,
    Models,
    Peer,
    Ready,
)
from benchmarks.runtimes.pool import SETTLE_S, Worker, turns
from benchmarks.runtimes.sameness import check_encoded, check_scores, logit_distance, moved
from harmguard.bench import stats
from harmguard.bench.machine import artefact
from harmguard.bench.memory import Memory
from harmguard.bench.results import Artefact
from harmguard.bench.text import Exchange, TextMaker
from harmguard.bundle import open_bundle
from harmguard.errors import BenchError, MemoryUnreadableError
from harmguard.prepared.prepare import prepare

LENGTHS, QUICK_LENGTHS = (32, 128, 512), (32, 128)
PASSES = 3
"""Times that all lengths are gone through, so that each is measured at moments minutes apart."""
ROUNDS = {"mini": {32: 4, 128: 3, 512: 2}, "435m": {32: 4, 128: 2, 512: 1}}
"""Turns of each runtime in a pass, by length."""
CALLS, CALLS_S = 20, 0.25
"""Calls in a turn, as long as they take less than this many seconds together."""
QUICK_ROUNDS, QUICK_CALLS = 2, 3
LOADS = {"mini": 3, "435m": 2}
TEXTS = {"mini": 4, "435m": 2}
AT_ONCE = {"mini": 12, "435m": 4}
"""Runtimes in memory together, the anchor not counted: large ones do not all fit."""
SEED = 19
LOADED_TOKENS = 128

_ROUNDED = ("int8", "int4", "bf16")
"""Ends of the names of those whose scores may lie further from torch fp32."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Size, checkpoint, cache."""
    parser.add_argument("size", choices=SIZES, help="shape of the guard")
    parser.add_argument("--checkpoint", type=Path, help="Hugging Face folder (default: see above)")
    parser.add_argument("--cache", type=Path, default=CACHE, help=CACHE_HELP)
    parser.add_argument("--prepare", action="store_true", help="make what is cached, then end")
    parser.add_argument("--retry", action="store_true", help="try again what could not be made")
    parser.add_argument("--only", nargs="+", choices=PEERS, default=list(PEERS), metavar="PEER")
    takes_threads(parser)


def measure(run: Run) -> Peers | None:
    """Prepare all, then measure, unless nothing but the former was asked for."""
    peers = Comparison(run)
    peers.prepare()
    if run.options.prepare:
        for name, reason in peers.figures["missing"].items():
            print(f"{name}: {reason}")
        return None
    peers.measure()
    return peers.figures


class Comparison:
    """The peers that can be loaded, the rows so far, and why the others are missing."""

    def __init__(self, run: Run) -> None:
        self._run, self._options = run, run.options
        options, self._size = run.options, run.options.size
        self._models = Models(
            options.cache.resolve(), self._size, options.checkpoint, options.threads
        )
        self._ready: dict[str, Ready] = {}
        self._workers: dict[str, Worker] = {}
        self._reference: dict[int, tuple[Any, ...]] = {}
        self._anchor: dict[int, list[float]] = {}
        self._taken: dict[tuple[str, int], list[list[float]]] = {}
        self._before: dict[tuple[str, int], list[list[float]]] = {}
        self._lengths = run.size(LENGTHS, QUICK_LENGTHS)
        self._pairs: dict[int, list[Exchange]] = {}
        self._warm: list[Exchange] = []
        self.rows: dict[str, Row] = {}
        self.missing: dict[str, str] = {}
        self.figures: Peers = {
            "size": self._size,
            "weights": self._models.weights,
            "anchor": ANCHOR,
            "lengths": list(self._lengths),
            "rows": self.rows,
            "missing": self.missing,
        }

    def prepare(self) -> None:
        """Install and convert; what fails is missing, with the reason."""
        for name in self._options.only:
            try:
                peer = PEERS[name]
                self._ready[name] = self._models.ready(name, peer, retry=self._options.retry)
            except BenchError as error:
                self._miss(name, error)

    def measure(self) -> None:
        """Group by group: load, then errors and times at each length, interleaved."""
        self._make_texts()
        for group in self._groups():
            with ExitStack() as stack:
                self._workers = {}
                for name in group:
                    try:
                        self._workers[name] = self._open(name, stack)
                    except BenchError as error:
                        self._miss(name, error)
                for number in range(self._run.size(PASSES, 1)):
                    for tokens in self._pairs:
                        self._measure(tokens, check=number == 0)
                        self._run.keep(self.figures)

    def _make_texts(self) -> None:
        """Texts of the lengths in tokens of the checkpoint's own tokenizer."""
        texts = TextMaker(self._models.checkpoint() / "tokenizer.json", SEED)
        count = TEXTS[self._size]
        self._pairs = {n: [texts.pair(n - 3) for _ in range(count)] for n in self._lengths}
        self._warm = [texts.pair(LOADED_TOKENS - 3)]

    def _groups(self) -> Iterator[list[str]]:
        """The reference first, the anchor in each, as many as fit into memory."""
        anchor = [ANCHOR] if ANCHOR in self._ready else []
        others = [name for name in self._ready if name != ANCHOR]
        others.sort(key=lambda name: name != REFERENCE)
        step = AT_ONCE[self._size]
        for start in range(0, max(1, len(others)), step):
            yield anchor + others[start : start + step]

    def _open(self, name: str, stack: ExitStack) -> Worker:
        """A loaded worker, whose row is begun unless the peer has one."""
        say(f"loading {name} ...")
        ready, runtime = self._ready[name], PEERS[name].runtime
        loads = 1 if name in self.rows else self._run.size(LOADS[self._size], 1)
        seconds = []
        for _ in range(loads - 1):
            with Worker(runtime, self._options.threads, ready.environment.python) as worker:
                seconds.append(worker.call("load", **ready.settings)["call_s"])
        worker = stack.enter_context(
            Worker(runtime, self._options.threads, ready.environment.python)
        )
        loaded = worker.call("load", **ready.settings)
        seconds.append(loaded["call_s"])
        worker.call("pairs", pairs=self._warm)
        worker.call("scores", mode="text")
        if name not in self.rows:
            memory, refused = _memory(worker)
            self.rows[name] = {
                "versions": loaded["versions"],
                "load_s": {"best": round(min(seconds), 3), "n": loads},
                "memory_mb": memory,
                "bundle": _artefact(PEERS[name], ready),
                "file_mb": _mb(ready.files),
                "prepared_mb": _prepared_mb(PEERS[name], ready),
                "installed_mb": ready.environment.installed_mb,
                "one_time": {
                    "install": ready.environment.made,
                    "export": ready.exported,
                    "convert": ready.converted,
                },
                "ms": {},
                "times_anchor": {},
                "score_error": {},
            }
            if refused:
                self.rows[name]["memory_error"] = refused
        return worker

    def _measure(self, tokens: int, *, check: bool) -> None:
        """Errors if `check`, then times, of all that still run, at one length."""
        say(f"{tokens} tokens: {', '.join(self._workers)} ...")
        for name in sorted(self._workers, key=lambda name: name != REFERENCE):
            if self._ask(name, "pairs", pairs=self._pairs[tokens]) is not None and check:
                self._errors(name, tokens)
        others = [name for name in self._workers if name != ANCHOR] or list(self._workers)
        rounds = QUICK_ROUNDS if self._run.quick else ROUNDS[self._size][tokens]
        asked = {"mode": "text", "calls": self._run.size(CALLS, QUICK_CALLS), "limit_s": CALLS_S}
        for _, name in turns(others, rounds):
            # The anchor right before each peer, so that slow seconds of the machine are in both.
            for runtime, rounds_of in ((ANCHOR, self._before), (name, self._taken)):
                if {name, runtime} <= set(self._workers):
                    seconds = self._ask(runtime, "time", **asked)
                    if seconds is not None:
                        rounds_of.setdefault((name, tokens), []).append(seconds)
                        if runtime == ANCHOR:
                            self._anchor.setdefault(tokens, []).extend(seconds)
                    time.sleep(SETTLE_S)
        for name in self._workers:
            self._keep(name, tokens)

    def _errors(self, name: str, tokens: int) -> None:
        if PEERS[name].runtime == "llama_guard":
            return
        # A public score of float32 is 1 where a logit still has digits, so logits are the model's.
        scores = []
        for mode in ("text", "ids"):
            if name in self._workers:
                scores.append(self._ask(name, "scores", mode=mode))
        encoded = self._ask(name, "encoded") if name in self._workers else None
        if name not in self._workers:
            return
        if name == REFERENCE:
            self._reference[tokens] = (*scores, encoded)
        reference = self._reference.get(tokens)
        if reference is None:
            return
        own = self._ready[name].settings["temperature"]
        wanted = self._ready[REFERENCE].settings["temperature"]
        text, ids = (moved(one, own, wanted) for one in scores)
        try:
            check_encoded(name, _ids(encoded), _ids(reference[2]))
            error = check_scores(
                name, text, reference[0], "int8" if name.endswith(_ROUNDED) else "fp32"
            )
        except OutputsDifferError as refused:
            self._miss(name, refused)
            del self._workers[name]
            return
        self.rows[name]["score_error"][str(tokens)] = {
            **error,
            "model_logit": logit_distance(ids, reference[1]),
        }

    def _keep(self, name: str, tokens: int) -> None:
        """A row's cell of one length, of all passes so far; the anchor's is of all groups."""
        rounds = self._taken.get((name, tokens), [])
        anchor = self._before.get((name, tokens), [])
        if name == ANCHOR:
            rounds = anchor = [self._anchor.get(tokens, [])]
        seconds = stats.flat(rounds)
        if not seconds:
            return
        row, key = self.rows[name], str(tokens)
        row["ms"][key] = stats.summary([1000 * s for s in seconds]).to_json()
        if len(anchor) == len(rounds):
            row["times_anchor"][key] = times(rounds, anchor)

    def _ask(self, name: str, call: str, **arguments: Any) -> Any:
        """The answer of a worker; None if it failed, which ends it and is kept as the reason."""
        try:
            return self._workers[name].call(call, **arguments)
        except WorkerError as error:
            self._miss(name, error)
            del self._workers[name]
            return None

    def _miss(self, name: str, error: BenchError) -> None:
        self.missing[name] = str(error)
        say(f"{name} is missing: {error}")


def _ids(encoded: Any) -> list[Any]:
    """Token ids without the types, which a model without types may give as it likes."""
    return [ids for ids, _ in encoded]


def _artefact(peer: Peer, ready: Ready) -> Artefact | None:
    """What identifies the bundle of a harmguard row; the other rows are of the checkpoint."""
    return artefact(open_bundle(Path(ready.settings["bundle"]))) if peer.recipe else None


def _prepared_mb(peer: Peer, ready: Ready) -> float | None:
    """What harmguard's prepared copy adds on disk; None for the others, which have none."""
    if peer.recipe is None:
        return None
    bundle = open_bundle(Path(ready.settings["bundle"]))
    copy = prepare(bundle, Path(ready.settings["cache"])).folder
    shared = {(bundle.folder / name).stat().st_ino for name in bundle.manifest.files}
    return _mb([file for file in copy.iterdir() if file.stat().st_ino not in shared])


def _mb(files: Sequence[Path]) -> float:
    return round(sum(file.stat().st_size for file in files) / 1e6, 1)


def _memory(worker: Worker) -> tuple[dict[str, float | None], str]:
    """Memory of the worker, or all unknown and why it may not be read."""
    try:
        return asdict(worker.memory()), ""
    except MemoryUnreadableError as error:
        return asdict(Memory()), str(error)


PLACES = [
    Part(2, 600, 150, "mini --cache {cache} {given}", "peers-mini"),
    Part(3, 1260, None, "435m --cache {cache}", "peers-435m"),
]
COMMAND = Benchmark(
    __name__,
    arguments,
    measure,
    _peers_table.tables,
    picture=_peers_table.draw,
    ratios=_peers_table.ratios,
    result=lambda options: f"peers-{options.size}",
    parts=PLACES,
)
