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
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import results as _results
from harmguard.bench.machine import describe
from harmguard.bundle import open_bundle
from harmguard.bundle.spec import CoremlRequires
from harmguard.core.files import sha256_of

OUT = _results.ROOT / "benchmarks" / "results" / "coreml.json"
_LENGTH = 128


def main(arguments: Sequence[str] | None = None) -> int:
    """Export, write the JSON after each, print a line for each."""
    parser = argparse.ArgumentParser(prog="benchmarks.training.coreml", description=__doc__)
    parser.add_argument("checkpoints", nargs="+", type=Path)
    parser.add_argument("--pairs", type=Path, help="for the parity (500 of them)")
    parser.add_argument("--recipes", default="fp16,int8,int4,palette4")
    parser.add_argument("--gate", choices=("on", "off"), default="on")
    parser.add_argument("--out", type=Path, default=OUT, help="(default: benchmarks/results)")
    options = parser.parse_args(arguments)
    result: dict[str, Any] = {"machine": describe(), "exports": []}
    for checkpoint in options.checkpoints:
        for recipe in options.recipes.split(","):
            found = _export(checkpoint, recipe, options.pairs, options.gate)
            result["exports"].append(found)
            _results.write_json(options.out, result)  # a cut run keeps what it has
            print({name: found[name] for name in ("checkpoint", "recipe", "error", "seconds")})
    return 0


def _export(checkpoint: Path, recipe: str, pairs: Path | None, gate: str) -> dict[str, Any]:
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
        found: dict[str, Any] = {
            "checkpoint": checkpoint.name,
            "recipe": recipe,
            "gate": gate,
            "error": lines[-1] if status and lines else None,
            "seconds": round(seconds, 1),
            "peak_rss_bytes": usage.ru_maxrss * 1024,
            "report": [line for line in lines if line.startswith(("parity", "  "))],
        }
        return found if status else found | _described(out)


def _described(out: Path) -> dict[str, Any]:
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


if __name__ == "__main__":
    raise SystemExit(main())
