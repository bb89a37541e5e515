"""What a user might pick instead, with the same work, interleaved in one run.

    python -m benchmarks.peers mini
    python -m benchmarks.peers mini --checkpoint runs/mini --quick
    python -m benchmarks.peers 435m

Each peer lives in an environment of its own, which the command makes once under .venvs/peers
(as it does the converted models, in .venvs/peers/models): a peer that cannot be installed,
converted or run is listed as missing, with the reason, and the rest goes on. Without a checkpoint
the weights are random. Needs the extras `bench` and `export`.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import _environments, _peers_table, _results, _setup
from benchmarks._errors import WorkerError
from benchmarks._pool import Worker, environment, turns
from benchmarks._random_checkpoint import SIZES
from harmguard.bench import stats
from harmguard.bench.machine import describe
from harmguard.bench.text import TextMaker
from harmguard.bundle import EMBEDDED
from harmguard.errors import BenchError

LENGTHS, QUICK_LENGTHS = (32, 128, 512), (32, 128)
ROUNDS, CALLS = 6, 5
QUICK_ROUNDS, QUICK_CALLS = 2, 3
TEXTS, SEED = 4, 19
CACHE = _results.ROOT / ".venvs" / "peers"
REFERENCE = "torch"


@dataclass(frozen=True)
class Peer:
    """A row: its runtime in `_worker`, its environment, and for harmguard its recipe."""

    runtime: str
    environment: str
    recipe: str | None = None


PEERS = {
    "harmguard int8": Peer("harmguard", "harmguard", "int8"),
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
    name = f"peers-{options.size}"
    result: dict[str, Any] = {
        "benchmark": name,
        "quick": options.quick,
        "started": _results.now(),
        "threads": options.threads,
        "machine": describe(),
        "size": options.size,
        "random_weights": options.checkpoint is None,
    }
    with ExitStack() as stack:
        run = _Run(options, stack)
        run.start()
        lengths = QUICK_LENGTHS if options.quick else LENGTHS
        for tokens in lengths:
            run.measure(tokens)
        result |= {"lengths": list(lengths), "rows": run.rows, "missing": run.missing}
    _results.finish(result, options)
    print(_peers_table.peers(result))
    return 0


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    made.add_argument("size", choices=SIZES, help="shape of the guard")
    made.add_argument("--checkpoint", type=Path, help="Hugging Face folder (default: random)")
    made.add_argument("--out", type=Path, help="raw JSON (default: results/peers-SIZE.json)")
    made.add_argument("--quick", action="store_true", help="few samples, to see that it runs")
    made.add_argument("--threads", type=int, default=2, help="threads of each (default: 2)")
    made.add_argument("--only", nargs="+", choices=PEERS, default=list(PEERS), metavar="PEER")
    return made


class _Run:
    """The workers that still run, the rows so far, and why the others are missing."""

    def __init__(self, options: argparse.Namespace, stack: ExitStack) -> None:
        self.rows: dict[str, dict[str, Any]] = {}
        self.missing: dict[str, str] = {}
        self._options, self._stack = options, stack
        self._models: Path = CACHE / "models" / options.size
        self._workers: dict[str, Worker] = {}
        self._texts = TextMaker(EMBEDDED / "tokenizer.json", SEED)
        self._checkpoint: Path = self._given_or_random()

    def start(self) -> None:
        """Install, convert and load each peer; what fails is missing, with the reason."""
        for name in self._options.only:
            try:
                self._start(name, PEERS[name])
            except BenchError as error:
                self._miss(name, error)

    def _start(self, name: str, peer: Peer) -> None:
        made = _environments.make(peer.environment, CACHE)
        cache = self._models / peer.environment
        cache.mkdir(parents=True, exist_ok=True)
        settings = {
            **_setup.settings(self._bundle(peer.recipe), self._checkpoint, cache / "export", 2),
            "threads": self._options.threads,
            "spinning": "1",
            "cache": str(cache),
        }
        before = time.monotonic()
        _results.say(f"{name}: converting and loading ...")
        with Worker(peer.runtime, self._options.threads, made.python) as worker:
            files = self._converted(worker, settings, cache / f"{peer.runtime}.done")
        converted = time.monotonic() - before
        worker = self._stack.enter_context(Worker(peer.runtime, self._options.threads, made.python))
        before = time.monotonic()
        loaded = worker.call("load", **settings)
        seconds = time.monotonic() - before
        worker.call("pairs", pairs=[self._texts.pair(128 - 3)])
        worker.call("scores", mode="text")
        self._workers[name] = worker
        self.rows[name] = {
            "versions": loaded["versions"],
            "load_s": round(seconds, 3),
            "memory_mb": asdict(worker.memory()),
            "file_mb": round(sum(Path(f).stat().st_size for f in files) / 1e6, 1),
            "installed_mb": made.installed_mb,
            "one_time_s": {"install": made.made_s, "convert": round(converted, 1)},
            "ms": {},
            "score_error": {},
        }

    def measure(self, tokens: int) -> None:
        """Errors, then times, of all that still run, at one length."""
        _results.say(f"{tokens} tokens ...")
        pairs = [self._texts.pair(tokens - 3) for _ in range(TEXTS)]
        scores: dict[str, list[float] | None] = {}
        for name in list(self._workers):
            asked = self._ask(name, "pairs", pairs=pairs)
            scores[name] = self._ask(name, "scores", mode="text") if asked else None
        reference = scores.get(REFERENCE)
        for name, found in scores.items():
            if reference and found and name != "llama-guard":
                self.rows[name]["score_error"][str(tokens)] = _setup.distance(found, reference)
        rounds, calls = (QUICK_ROUNDS, QUICK_CALLS) if self._options.quick else (ROUNDS, CALLS)
        taken: dict[str, list[float]] = {name: [] for name in self._workers}
        for _, name in turns(list(self._workers), rounds):
            if name in self._workers:
                taken[name] += self._ask(name, "time", mode="text", calls=calls) or []
        for name, seconds in taken.items():
            if seconds:
                cell = asdict(stats.summary([1000 * s for s in seconds]))
                self.rows[name]["ms"][str(tokens)] = cell

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

    def _converted(self, worker: Worker, settings: dict[str, Any], stamp: Path) -> list[str]:
        """The files of the model, converted unless they are there."""
        if stamp.exists():
            files = stamp.read_text(encoding="utf-8").splitlines()
            if all(Path(file).exists() for file in files):
                return files
        found: list[str] = worker.call("convert", **settings)
        _results.write_text(stamp, "\n".join(found) + "\n")
        return found

    def _given_or_random(self) -> Path:
        given: Path | None = self._options.checkpoint
        if given is not None:
            self._models = self._models.with_name(f"{self._options.size}-{given.resolve().name}")
            return given
        out = self._models / "checkpoint"
        self._make(out, "_random_checkpoint", self._options.size, str(EMBEDDED / "tokenizer.json"))
        return out

    def _bundle(self, recipe: str | None) -> Path:
        """The checkpoint's bundle in a recipe; the embedded one tells the others its limits."""
        if recipe is None:
            return EMBEDDED
        out = self._models / f"bundle-{recipe}"
        self._make(out, "_bundle_export", str(self._checkpoint.resolve()), recipe=recipe)
        return out

    def _make(self, out: Path, module: str, *before: str, recipe: str = "") -> None:
        """Run a module that writes `out`, aside first; nothing if it is there."""
        if out.exists():
            return
        aside = out.with_name(f".{out.name}.aside")
        shutil.rmtree(aside, ignore_errors=True)
        aside.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", f"benchmarks.{module}", *before, str(aside)]
        done = subprocess.run(
            [*command, *filter(None, [recipe])],
            cwd=_results.ROOT,
            env=environment(self._options.threads),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise WorkerError(f"{module.strip('_')} {' '.join(filter(None, [recipe]))}: {last}")
        aside.rename(out)


if __name__ == "__main__":
    raise SystemExit(_results.guarded(main))
