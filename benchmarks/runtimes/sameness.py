"""Loads the runtimes for a comparison, and refuses to time what does not compute the same."""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypedDict

from benchmarks.harness.command import takes_bundle
from benchmarks.harness.errors import OutputsDifferError, WorkerError
from benchmarks.harness.results import say
from benchmarks.runtimes.pool import Worker, environment
from harmguard.bundle import open_bundle

MEAN_ERROR = {"fp32": 0.001, "int8": 0.06}
MAX_ERROR = {"fp32": 0.005, "int8": 0.3}
"""Score distance from torch fp32 above which a runtime computes something else: wrong template,
labels or weights. Quality is judged by the export's parity gate, not here."""

API_ERROR = 0.002
"""Between the public API, its bulk call and the bare session: the same model, so near equal."""

_LEAST = sys.float_info.epsilon
"""A probability is held this far from 0 and 1, so that it has a logit."""


class Distance(TypedDict):
    """Mean and largest absolute difference of scores."""

    mean: float
    max: float


def takes_checkpoint(parser: argparse.ArgumentParser) -> None:
    """BUNDLE, CHECKPOINT, --optimum and --threads."""
    takes_bundle(parser)
    exported = "Hugging Face folder that the bundle was exported from"
    parser.add_argument("checkpoint", type=Path, help=exported)
    parser.add_argument("--optimum", type=Path, help="optimum's export of it (default: made)")


def started(
    stack: ExitStack, names: Sequence[str], options: argparse.Namespace
) -> tuple[dict[str, Worker], dict[str, Any], dict[str, Any]]:
    """Loaded workers that end with `stack`, their settings, and what they said of themselves.

    harmguard comes first: the others get its spinning. Raises WorkerError.
    """
    optimum = options.optimum
    if optimum is None:
        optimum = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "optimum"
        export_optimum(options.checkpoint, optimum, options.threads)
    made = settings(options.bundle, options.checkpoint, optimum, options.threads)
    workers = {name: stack.enter_context(Worker(name, options.threads)) for name in names}
    loaded: dict[str, Any] = {}
    for name, worker in workers.items():
        say(f"loading {name} ...")
        loaded[name] = worker.call("load", **made)
        made.setdefault("spinning", loaded[name].get("spinning", "1"))
    return workers, made, loaded


def settings(bundle: Path, checkpoint: Path, optimum: Path, threads: int) -> dict[str, Any]:
    """What every worker is loaded with."""
    manifest = open_bundle(bundle).manifest
    return {
        "bundle": str(bundle.resolve()),
        "checkpoint": str(checkpoint.resolve()),
        "optimum": str(optimum.resolve()),
        "threads": threads,
        "temperature": manifest.output.temperature,
        "max_tokens": manifest.input.max_tokens,
    }


def export_optimum(checkpoint: Path, out: Path, threads: int) -> None:
    """Write optimum's models of the checkpoint to `out`. WorkerError if that fails."""
    say("exporting the checkpoint with optimum ...")
    module = ["-m", "benchmarks.runtimes.optimum_export"]
    done = subprocess.run(
        [sys.executable, *module, str(checkpoint.resolve()), str(out)],
        env=environment(threads),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise WorkerError(f"optimum's export of {checkpoint.name} failed: {last}")


def check_scores(
    name: str, scores: Sequence[float], reference: Sequence[float], recipe: str
) -> Distance:
    """Mean and largest distance. OutputsDifferError when they are not of the same model."""
    kind = "fp32" if recipe == "fp32" else "int8"
    apart = distance(scores, reference)
    if apart["mean"] > MEAN_ERROR[kind] or apart["max"] > MAX_ERROR[kind]:
        raise OutputsDifferError(
            f"{name}: scores are {apart['mean']:.4f} (mean) and {apart['max']:.4f} (most) from the "
            f"reference; expected at most {MEAN_ERROR[kind]} and {MAX_ERROR[kind]}; "
            "likely the bundle was not exported from this checkpoint"
        )
    return apart


def check_same(name: str, scores: Sequence[float], reference: Sequence[float]) -> Distance:
    """As `check_scores`, for two ways to run one model."""
    apart = distance(scores, reference)
    if apart["max"] > API_ERROR:
        raise OutputsDifferError(
            f"{name}: scores differ by up to {apart['max']:.4f}; expected at most {API_ERROR}; "
            "likely a score depends on its batch or padding"
        )
    return apart


def check_encoded(name: str, encoded: Sequence[Any], reference: Sequence[Any]) -> None:
    """OutputsDifferError unless both tokenizers give the same ids and types."""
    different = [i for i, (a, b) in enumerate(zip(encoded, reference, strict=True)) if a != b]
    if different:
        raise OutputsDifferError(
            f"{name}: {len(different)} of {len(reference)} texts are encoded differently, "
            f"the first at index {different[0]}; likely their tokenizers differ"
        )


def distance(scores: Sequence[float], reference: Sequence[float]) -> Distance:
    """Mean and largest absolute difference of two lists of equal length."""
    errors = [abs(a - b) for a, b in zip(scores, reference, strict=True)]
    return {"mean": sum(errors) / len(errors), "max": max(errors)}


def logit_distance(scores: Sequence[float], reference: Sequence[float]) -> float:
    """Largest absolute difference of log(p / (1 - p)): it shows where scores are near 0 or 1.

    Beyond 36 a float64 probability is 1, and so are its neighbours.
    """

    def logit(p: float) -> float:
        inner = min(max(p, _LEAST), 1 - _LEAST)
        return math.log(inner / (1 - inner))

    return max(abs(logit(a) - logit(b)) for a, b in zip(scores, reference, strict=True))


def moved(scores: Sequence[float], own: float, wanted: float) -> list[float]:
    """Scores made at the temperature `own`, as they would be at `wanted`."""
    if own == wanted:
        return list(scores)
    inner = (min(max(p, _LEAST), 1 - _LEAST) for p in scores)
    return [1 / (1 + ((1 - p) / p) ** (own / wanted)) for p in inner]


def specials(worker: Worker) -> int:
    """How many special tokens stand around a pair; leaves one pair in the worker."""
    worker.call("pairs", pairs=[["a", "a"]])
    ((ids, _),) = worker.call("encoded")
    return len(ids) - 2
