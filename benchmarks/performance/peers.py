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

from benchmarks.harness import results as _results
from benchmarks.harness.errors import OutputsDifferError, WorkerError
from benchmarks.performance import _peers_table
from benchmarks.runtimes import sameness as _setup
from benchmarks.runtimes.models import CACHE, CACHE_HELP, SIZES, Models, Peer, Ready
from benchmarks.runtimes.pool import SETTLE_S, Worker, turns
from harmguard.bench import stats
from harmguard.bench.machine import artefact, describe
from harmguard.bench.memory import Memory
from harmguard.bench.text import Pair, TextMaker
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
ANCHOR, REFERENCE = "harmguard int8", "torch"

_ROUNDED = ("int8", "int4", "bf16")
"""Ends of the names of those whose scores may lie further from torch fp32."""

PEERS = {
    ANCHOR: Peer("harmguard", "harmguard", "int8"),
    "harmguard int4": Peer("harmguard", "harmguard", "int4"),
    "harmguard fp32": Peer("harmguard", "harmguard", "fp32"),
    REFERENCE: Peer("torch", "torch"),
    "torch bf16": Peer("torch_bf16", "torch"),
    "optimum fp32": Peer("optimum_fp32", "optimum"),
    "optimum int8": Peer("optimum", "optimum"),
    "openvino fp32": Peer("openvino_fp32", "openvino"),
    "openvino int8": Peer("openvino_int8", "openvino"),
    "executorch": Peer("executorch", "executorch"),
    "litert": Peer("litert", "litert"),
    "llama-guard": Peer("llama_guard", "llama"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write the raw JSON, print the table."""
    options = _parser().parse_args(arguments)
    run = _Run(options)
    run.prepare()
    if options.prepare:
        for name, reason in run.missing.items():
            print(f"{name}: {reason}")
        return 0
    run.measure()
    _results.finish(run.result, options)
    print(_peers_table.peers(run.result))
    return 0


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m benchmarks peers", description=__doc__)
    made.formatter_class = argparse.RawDescriptionHelpFormatter
    made.add_argument("size", choices=SIZES, help="shape of the guard")
    made.add_argument("--checkpoint", type=Path, help="Hugging Face folder (default: see above)")
    made.add_argument("--cache", type=Path, default=CACHE, help=CACHE_HELP)
    made.add_argument("--prepare", action="store_true", help="make what is cached, measure nothing")
    made.add_argument("--retry", action="store_true", help="try again what could not be made")
    made.add_argument("--out", type=Path, help="raw JSON (default: results/peers-SIZE.json)")
    made.add_argument("--quick", action="store_true", help="few samples, to see that it runs")
    made.add_argument("--threads", type=int, default=2, help="threads of each (default: 2)")
    made.add_argument("--only", nargs="+", choices=PEERS, default=list(PEERS), metavar="PEER")
    return made


class _Run:
    """The peers that can be loaded, the rows so far, and why the others are missing."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options, size = options, options.size
        self._models = Models(options.cache.resolve(), size, options.checkpoint, options.threads)
        self._ready: dict[str, Ready] = {}
        self._workers: dict[str, Worker] = {}
        self._reference: dict[int, tuple[Any, ...]] = {}
        self._anchor: dict[int, list[float]] = {}
        self._taken: dict[tuple[str, int], list[list[float]]] = {}
        self._before: dict[tuple[str, int], list[list[float]]] = {}
        self._lengths = QUICK_LENGTHS if options.quick else LENGTHS
        self._pairs: dict[int, list[Pair]] = {}
        self._warm: list[Pair] = []
        self.rows: dict[str, dict[str, Any]] = {}
        self.missing: dict[str, str] = {}
        self.result: dict[str, Any] = {
            "benchmark": f"peers-{size}",
            "quick": options.quick,
            "started": _results.now(),
            "threads": options.threads,
            "machine": describe(),
            "size": size,
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
                for number in range(1 if self._options.quick else PASSES):
                    for tokens in self._pairs:
                        self._measure(tokens, check=number == 0)
                        _results.keep(self.result, self._options)

    def _make_texts(self) -> None:
        """Texts of the lengths in tokens of the checkpoint's own tokenizer."""
        texts = TextMaker(self._models.checkpoint() / "tokenizer.json", SEED)
        count = TEXTS[self._options.size]
        self._pairs = {n: [texts.pair(n - 3) for _ in range(count)] for n in self._lengths}
        self._warm = [texts.pair(LOADED_TOKENS - 3)]

    def _groups(self) -> Iterator[list[str]]:
        """The reference first, the anchor in each, as many as fit into memory."""
        anchor = [ANCHOR] if ANCHOR in self._ready else []
        others = [name for name in self._ready if name != ANCHOR]
        others.sort(key=lambda name: name != REFERENCE)
        step = AT_ONCE[self._options.size]
        for start in range(0, max(1, len(others)), step):
            yield anchor + others[start : start + step]

    def _open(self, name: str, stack: ExitStack) -> Worker:
        """A loaded worker, whose row is begun unless the peer has one."""
        _results.say(f"loading {name} ...")
        ready, runtime = self._ready[name], PEERS[name].runtime
        loads = 1 if self._options.quick or name in self.rows else LOADS[self._options.size]
        seconds = []
        for _ in range(loads - 1):
            with Worker(runtime, self._options.threads, ready.environment.python) as worker:
                seconds.append(worker.call("load", **ready.settings)["call_s"])
        made = Worker(runtime, self._options.threads, ready.environment.python)
        worker = stack.enter_context(made)
        loaded = worker.call("load", **ready.settings)
        seconds.append(loaded["call_s"])
        worker.call("pairs", pairs=self._warm)
        worker.call("scores", mode="text")
        if name not in self.rows:
            self.rows[name] = {
                "versions": loaded["versions"],
                "load_s": {"best": round(min(seconds), 3), "n": loads},
                **_memory(worker),
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
        return worker

    def _measure(self, tokens: int, *, check: bool) -> None:
        """Errors if `check`, then times, of all that still run, at one length."""
        _results.say(f"{tokens} tokens: {', '.join(self._workers)} ...")
        for name in sorted(self._workers, key=lambda name: name != REFERENCE):
            if self._ask(name, "pairs", pairs=self._pairs[tokens]) is not None and check:
                self._errors(name, tokens)
        others = [name for name in self._workers if name != ANCHOR] or list(self._workers)
        rounds = QUICK_ROUNDS if self._options.quick else ROUNDS[self._options.size][tokens]
        asked = {
            "mode": "text",
            "calls": QUICK_CALLS if self._options.quick else CALLS,
            "limit_s": CALLS_S,
        }
        for _, name in turns(others, rounds):
            # The anchor right before each peer, so that slow seconds of the machine are in both.
            for one, kept in ((ANCHOR, self._before), (name, self._taken)):
                if {name, one} <= set(self._workers):
                    found = self._ask(one, "time", **asked)
                    if found is not None:
                        kept.setdefault((name, tokens), []).append(found)
                        self._anchor.setdefault(tokens, []).extend(found if one == ANCHOR else [])
                    time.sleep(SETTLE_S)
        for name in self._workers:
            self._keep(name, tokens)

    def _errors(self, name: str, tokens: int) -> None:
        if PEERS[name].runtime == "llama_guard":
            return
        # A public score of float32 is 1 where a logit still has digits, so logits are the model's.
        found = []
        for mode in ("text", "ids"):
            if name in self._workers:
                found.append(self._ask(name, "scores", mode=mode))
        encoded = self._ask(name, "encoded") if name in self._workers else None
        if name not in self._workers:
            return
        if name == REFERENCE:
            self._reference[tokens] = (*found, encoded)
        reference = self._reference.get(tokens)
        if reference is None:
            return
        own = self._ready[name].settings["temperature"]
        wanted = self._ready[REFERENCE].settings["temperature"]
        text, ids = (_setup.moved(scores, own, wanted) for scores in found)
        try:
            _setup.check_encoded(name, _ids(encoded), _ids(reference[2]))
            error = _setup.check_scores(
                name, text, reference[0], "int8" if name.endswith(_ROUNDED) else "fp32"
            )
        except OutputsDifferError as refused:
            self._miss(name, refused)
            del self._workers[name]
            return
        self.rows[name]["score_error"][str(tokens)] = {
            **error,
            "model_logit": _setup.logit_distance(ids, reference[1]),
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
        row["ms"][key] = asdict(stats.summary([1000 * s for s in seconds]))
        if len(anchor) == len(rounds):
            row["times_anchor"][key] = asdict(stats.ratio(rounds, anchor))

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
        _results.say(f"{name} is missing: {error}")


def _ids(encoded: Any) -> list[Any]:
    """Token ids without the types, which a model without types may give as it likes."""
    return [ids for ids, _ in encoded]


def _artefact(peer: Peer, ready: Ready) -> dict[str, Any] | None:
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


def _memory(worker: Worker) -> dict[str, Any]:
    """Memory of the worker; where it may not be read it is unknown, and the reason is kept."""
    try:
        return {"memory_mb": asdict(worker.memory())}
    except MemoryUnreadableError as error:
        return {"memory_mb": asdict(Memory()), "memory_error": str(error)}


if __name__ == "__main__":
    raise SystemExit(_results.guarded(main))
