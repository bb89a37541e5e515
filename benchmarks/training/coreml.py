"""Core ML exports of checkpoints by every recipe: parity, size, time, memory, operators.

    python -m benchmarks coreml CHECKPOINT... [--pairs FILE] [--recipes fp16,int8,int4,palette4]
    python -m benchmarks coreml LARGE --pairs FEW.jsonl --gate off

Each export is a process of its own. docs/coreml.md says what the figures mean.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np

from benchmarks.harness.command import Benchmark
from benchmarks.harness.results import Run, say
from harmguard.bench.markdown import table
from harmguard.bundle import open_bundle
from harmguard.bundle.spec import CoremlRequires
from harmguard.core.files import sha256_of

_LENGTH = 128


class Export(TypedDict):
    """One checkpoint by one recipe; what the bundle is made of, unless it failed."""

    checkpoint: str
    recipe: str
    gate: str
    error: str | None
    seconds: float
    peak_rss_bytes: int
    report: list[str]
    guard_json_sha256: NotRequired[str]
    deployment: NotRequired[str]
    package_bytes: NotRequired[int]
    parity: NotRequired[Any]
    exceptions: NotRequired[list[str]]
    operators: NotRequired[dict[str, int]]
    multiply_adds: NotRequired[dict[str, int]]


class Coreml(TypedDict):
    """The raw result."""

    exports: list[Export]


def arguments(parser: argparse.ArgumentParser) -> None:
    """Checkpoints, pairs, recipes, the gate."""
    parser.add_argument("checkpoints", nargs="+", type=Path)
    parser.add_argument("--pairs", type=Path, help="for the parity (500 of them)")
    parser.add_argument("--recipes", default="fp16,int8,int4,palette4")
    parser.add_argument("--gate", choices=("on", "off"), default="on")


def measure(run: Run) -> Coreml:
    """Export each; a cut run keeps what it has."""
    options, figures = run.options, Coreml(exports=[])
    for checkpoint in options.checkpoints:
        for recipe in options.recipes.split(","):
            say(f"{checkpoint.name}, {recipe} ...")
            export = _export(checkpoint, recipe, options.pairs, options.gate)
            figures["exports"].append(export)
            run.keep(figures)
    return figures


def tables(result: Coreml) -> str:
    """A line for each export."""
    rows = [
        [one["checkpoint"], one["recipe"], one["error"] or "-", f"{one['seconds']:.1f}"]
        for one in result["exports"]
    ]
    return table(["checkpoint", "recipe", "error", "seconds"], rows)


def _export(checkpoint: Path, recipe: str, pairs: Path | None, gate: str) -> Export:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "bundle"
        call = [sys.executable, "-m", "harmguard", "export", str(checkpoint), str(out)]
        call += ["--target", "coreml", "--recipe", recipe, "--gate", gate]
        call += ["--pairs", str(pairs)] if pairs else []
        started = time.monotonic()
        with (Path(folder) / "log").open("w+", encoding="utf-8") as log:
            process = subprocess.Popen(call, stderr=log, stdout=subprocess.DEVNULL)
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.monotonic() - started
            log.seek(0)
            lines = log.read().splitlines()
        export: Export = {
            "checkpoint": checkpoint.name,
            "recipe": recipe,
            "gate": gate,
            "error": lines[-1] if status and lines else None,
            "seconds": round(seconds, 1),
            "peak_rss_bytes": usage.ru_maxrss * 1024,
            "report": [line for line in lines if line.startswith(("parity", "  "))],
        }
        return export if status else {**export, **_described(out)}


def _described(out: Path) -> Any:
    from harmguard_export.coreml.package import NAME
    from harmguard_export.coreml.torch_program import Evaluator, read_program

    manifest = open_bundle(out).manifest
    requires, lengths = manifest.requires, manifest.input.lengths
    assert isinstance(requires, CoremlRequires)
    assert lengths is not None
    length = lengths.padded(min(_LENGTH, lengths.values[-1]))
    feeds = {name: np.ones((1, length), np.int32) for name in manifest.input.names}
    kinds, work = Evaluator(read_program(out / NAME), half=False).counted(feeds)
    return {
        "guard_json_sha256": sha256_of(out / "guard.json"),
        "deployment": requires.deployment,
        "package_bytes": sum(e.size for n, e in manifest.files.items() if n.startswith(NAME)),
        "parity": manifest.precision.parity,
        "exceptions": list(manifest.precision.exceptions),
        "operators": dict(kinds),
        "multiply_adds": {"length": length, **work},
    }


COMMAND = Benchmark(__name__, arguments, measure, tables, quick=False)
