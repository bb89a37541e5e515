"""Checkpoint, bundles and converted models of one size of guard, each made once in the cache."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.harness.errors import EnvironmentMissingError, WorkerError
from benchmarks.harness.results import ROOT, read_json, say, write_json, write_text
from benchmarks.runtimes import environments
from benchmarks.runtimes.environments import Cost, Environment, cost_since
from benchmarks.runtimes.pool import Worker, environment
from benchmarks.runtimes.sameness import settings
from harmguard.bundle import EMBEDDED
from harmguard.core.files import work_folder

SIZES = ("mini", "435m")
CACHE = Path(os.environ.get("HARMGUARD_PEERS_CACHE") or ROOT / ".venvs" / "peers")
CACHE_HELP = "default: $HARMGUARD_PEERS_CACHE, or .venvs/peers"
EXPORTER = ROOT / "export" / "harmguard_export"
_SOURCES = [
    ROOT / "benchmarks" / "checkpoints" / f"{name}.py"
    for name in ("deberta_large", "_outliers", "_unigram_tokenizer")
]
"""What a checkpoint with random weights is made by."""


@dataclass(frozen=True)
class Peer:
    """A row: title, runtime in `worker`, environment, and for harmguard its recipe."""

    title: str
    runtime: str
    environment: str
    recipe: str | None = None


ANCHOR, REFERENCE = "harmguard int8", "torch"
PEERS = {
    ANCHOR: Peer("harmguard int8", "harmguard", "harmguard", "int8"),
    "harmguard int4": Peer("harmguard int4", "harmguard", "harmguard", "int4"),
    "harmguard fp32": Peer("harmguard fp32", "harmguard", "harmguard", "fp32"),
    REFERENCE: Peer("transformers + torch fp32", "torch", "torch"),
    "torch bf16": Peer("transformers + torch bf16", "torch_bf16", "torch"),
    "optimum fp32": Peer("optimum + onnxruntime fp32", "optimum_fp32", "optimum"),
    "optimum int8": Peer("optimum + onnxruntime dynamic int8", "optimum", "optimum"),
    "openvino fp32": Peer("OpenVINO fp32", "openvino_fp32", "openvino"),
    "openvino int8": Peer("OpenVINO int8 weights", "openvino_int8", "openvino"),
    "executorch": Peer("ExecuTorch + XNNPACK fp32", "executorch", "executorch"),
    "litert": Peer("LiteRT fp32", "litert", "litert"),
    "llama-guard": Peer("Llama-Guard-3-1B shape, llama.cpp Q4_0", "llama_guard", "llama"),
}


@dataclass(frozen=True)
class Ready:
    """A peer that can be loaded: with what, from which files, and what making them cost."""

    environment: Environment
    settings: dict[str, Any]
    files: list[Path]
    converted: Cost
    exported: Cost | None = None
    """What making harmguard's bundle cost; None where there was none to make."""


class Models:
    """What is made of one checkpoint. Without one, what a fresh clone has stands in for it."""

    def __init__(self, cache: Path, size: str, given: Path | None, threads: int) -> None:
        self._cache, self._size, self._given, self._threads = cache, size, given, threads
        self.weights = "given" if given else "rebuilt" if size == "mini" else "random"
        if given is not None:
            key = _digest(sorted(given.glob("*.safetensors")))
        else:
            makers = {"rebuilt": [EMBEDDED / "guard.json"], "random": _SOURCES}
            key = _digest(makers[self.weights])
        self._folder = cache / "models" / f"{size}-{self.weights}-{key}"

    def checkpoint(self) -> Path:
        """The folder that transformers loads."""
        # A bundle takes its name from the folder.
        out = self._folder / f"{self._size}-{self.weights}"
        if self._given is not None:
            return self._given.resolve()
        if self.weights == "rebuilt":
            self._make(out, "benchmarks", "rebuilt", str(EMBEDDED), str(out))
        else:
            self._make(out, "benchmarks", "deberta_large", str(out))
        return out

    def bundle(self, recipe: str) -> Path:
        """The checkpoint's bundle in a recipe; the shipped one where the checkpoint is its own."""
        if self.weights == "rebuilt" and recipe == "int8":
            return EMBEDDED
        out = self._folder / self._bundle_name(recipe)
        # Random weights pass no gate that was made for trained ones; the table has the error.
        options = ("--recipe", recipe, "--gate", "off")
        self._make(out, "harmguard", "export", str(self.checkpoint()), str(out), *options)
        return out

    def _bundle_name(self, recipe: str) -> str:
        sources = [p for p in sorted(EXPORTER.rglob("*")) if p.is_file() and p.suffix != ".pyc"]
        return f"bundle-{recipe}-{_digest(sources)}"

    def optimum(self) -> Path:
        """Where the peer optimum keeps its export."""
        return self._converted_by("optimum") / "export"

    def ready(self, name: str, peer: Peer, *, retry: bool) -> Ready:
        """Make what the peer needs, unless it is there.

        Raises EnvironmentMissingError or WorkerError with the reason, which is kept: it is
        raised again without another try, unless `retry`.
        """
        cache = self._converted_by(peer.environment)
        cache.mkdir(parents=True, exist_ok=True)
        # A bundle's name changes with the exporter, so a new exporter is tried.
        key = "None" if peer.recipe is None else self._bundle_name(peer.recipe)
        failed = cache / f"{peer.runtime}-{key}.failed"
        if failed.exists() and not retry:
            raise WorkerError(failed.read_text(encoding="utf-8").strip())
        try:
            made = environments.make(peer.environment, self._cache)
            settings = self._settings(peer, cache)
            files, cost = self._converted(name, peer, made, settings)
        except (EnvironmentMissingError, WorkerError) as error:
            write_text(failed, f"{error}\n")
            raise
        failed.unlink(missing_ok=True)
        exported = None if peer.recipe is None else self._cost(self.bundle(peer.recipe))
        return Ready(made, settings, files, cost, exported)

    def _converted_by(self, environment: str) -> Path:
        """The folder of what an environment's packages make, another one for other versions."""
        wanted = environments.made_from(environment).encode()
        return self._folder / f"{environment}-{hashlib.sha256(wanted).hexdigest()[:8]}"

    def _settings(self, peer: Peer, cache: Path) -> dict[str, Any]:
        bundle = EMBEDDED if peer.recipe is None else self.bundle(peer.recipe)
        return {
            **settings(bundle, self.checkpoint(), self.optimum(), self._threads),
            "spinning": "1",
            "cache": str(cache),
        }

    def _converted(
        self, name: str, peer: Peer, made: Environment, settings: dict[str, Any]
    ) -> tuple[list[Path], Cost]:
        """The files of the model and what the conversion cost, converted unless they are there."""
        stamp = Path(settings["cache"]) / f"{peer.runtime}-{peer.recipe}.json"
        if stamp.exists():
            kept = read_json(stamp)
            files = [Path(file) for file in kept["files"]]
            # Peers convert the checkpoint; the shipped bundle has another path in each clone.
            same = peer.recipe is None or kept["bundle"] == settings["bundle"]
            if same and all(file.exists() for file in files):
                return files, kept["made"]
        say(f"{name}: converting (once) ...")
        before = time.monotonic()
        with Worker(peer.runtime, self._threads, made.python) as worker:
            files = [Path(file) for file in worker.call("convert", **settings)]
        cost = cost_since(before)
        names = [str(file) for file in files]
        write_json(stamp, {"files": names, "bundle": settings["bundle"], "made": cost})
        return files, cost

    def _make(self, out: Path, module: str, *arguments: str) -> None:
        """Run a module that writes `out`, aside first; nothing if it is there."""
        if out.exists():
            return
        say(f"making {out.name} of {self._size} (once) ...")
        before = time.monotonic()
        with work_folder(out) as folder:
            aside = folder / out.name
            written = [str(aside) if argument == str(out) else argument for argument in arguments]
            done = subprocess.run(
                [sys.executable, "-m", module, *written],
                cwd=ROOT,
                env=environment(self._threads),
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                last = (done.stderr.strip().splitlines() or ["no message"])[-1]
                log = out.with_name(f"{out.name}.log")
                write_text(log, done.stderr)
                raise WorkerError(f"{out.name} could not be made: {last} (all of it: {log.name})")
            write_json(_beside(out), cost_since(before))
            aside.rename(out)

    def _cost(self, out: Path) -> Cost | None:
        """What making `out` cost; None for what nobody made here, as the shipped bundle."""
        if not _beside(out).exists():
            return None
        cost: Cost = read_json(_beside(out))
        return cost


def _beside(out: Path) -> Path:
    return out.with_name(f"{out.name}.made.json")


def _digest(files: list[Path]) -> str:
    """Eight digits that change with the files' contents."""
    total = hashlib.sha256()
    for file in files:
        with file.open("rb") as opened:
            total.update(hashlib.file_digest(opened, "sha256").digest())
    return total.hexdigest()[:8]
