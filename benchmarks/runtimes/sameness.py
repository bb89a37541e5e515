"""Loads the runtimes for a comparison, and refuses to time what does not compute the same."""

from __future__ import annotations

import math
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

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


def settings(bundle: Path, checkpoint: Path, optimum: Path, threads: int) -> dict[str, Any]:
    """What every worker is loaded with."""
    manifest = open_bundle(bundle).manifest
    return {
        "bundle": str(bundle.resolve()),
        "checkpoint": str(checkpoint.resolve()),
        "optimum": str(optimum),
        "threads": threads,
        "temperature": manifest.output.temperature,
        "max_tokens": manifest.input.max_tokens,
    }


def optimum(checkpoint: Path, given: Path | None, stack: ExitStack, threads: int) -> Path:
    """The folder of optimum's int8 model: `given`, or made for as long as `stack` is open.

    Raises WorkerError if the export fails.
    """
    if given is not None:
        return given.resolve()
    out = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "optimum"
    export_optimum(checkpoint, out, threads)
    return out


def export_optimum(checkpoint: Path, out: Path, threads: int) -> None:
    """Write optimum's int8 model of the checkpoint to `out`. WorkerError if that fails."""
    say("exporting the checkpoint with optimum ...")
    command = [
        sys.executable,
        "-m",
        "benchmarks.runtimes.optimum_export",
        str(checkpoint.resolve()),
    ]
    done = subprocess.run(
        [*command, str(out)],
        env=environment(threads),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise WorkerError(f"optimum's export of {checkpoint.name} failed: {last}")


def load(workers: dict[str, Worker], made: dict[str, Any]) -> dict[str, Any]:
    """Load every runtime, harmguard first: the others get its spinning."""
    loaded: dict[str, Any] = {}
    for name, worker in workers.items():
        say(f"loading {name} ...")
        loaded[name] = worker.call("load", **made)
        made.setdefault("spinning", loaded[name].get("spinning", "1"))
    return loaded


def check_scores(
    name: str, scores: Sequence[float], reference: Sequence[float], recipe: str
) -> dict[str, float]:
    """Mean and largest distance. OutputsDifferError when they are not of the same model."""
    kind = "fp32" if recipe == "fp32" else "int8"
    found = distance(scores, reference)
    if found["mean"] > MEAN_ERROR[kind] or found["max"] > MAX_ERROR[kind]:
        raise OutputsDifferError(
            f"{name}: scores are {found['mean']:.4f} (mean) and {found['max']:.4f} (most) from the "
            f"reference; expected at most {MEAN_ERROR[kind]} and {MAX_ERROR[kind]}; "
            "likely the bundle was not exported from this checkpoint"
        )
    return found


def check_same(name: str, scores: Sequence[float], reference: Sequence[float]) -> dict[str, float]:
    """As `check_scores`, for two ways to run one model."""
    found = distance(scores, reference)
    if found["max"] > API_ERROR:
        raise OutputsDifferError(
            f"{name}: scores differ by up to {found['max']:.4f}; expected at most {API_ERROR}; "
            "likely a score depends on its batch or padding"
        )
    return found


def check_encoded(name: str, encoded: Sequence[Any], reference: Sequence[Any]) -> None:
    """OutputsDifferError unless both tokenizers give the same ids and types."""
    different = [i for i, (a, b) in enumerate(zip(encoded, reference, strict=True)) if a != b]
    if different:
        raise OutputsDifferError(
            f"{name}: {len(different)} of {len(reference)} texts are encoded differently, "
            f"the first at index {different[0]}; likely their tokenizers differ"
        )


def distance(scores: Sequence[float], reference: Sequence[float]) -> dict[str, float]:
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
