"""Quality of guards side by side on the reporting sets, with confidence intervals.

    HARMGUARD_DATA=... python -m benchmarks quality harmguard/models/mini runs/mini

Each GUARD is a bundle (a recipe) or the fp32 checkpoint that it came from; thresholds are each
guard's own. Reads report/*.jsonl.gz below HARMGUARD_DATA, or the files of --data. Looks at the
reporting sets are counted: log each in docs/experiments.md. Needs the extra `train`.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import results as _results
from benchmarks.harness.errors import BenchmarkDataError
from benchmarks.quality import _quality_table
from harmguard.bench.machine import describe

METRICS = ("auprc", "f1", "precision", "recall", "fpr")


def main(arguments: Sequence[str] | None = None) -> int:
    """Score all, write the raw JSON, print the table."""
    options = _parser().parse_args(arguments)
    from harmguard.training.evaluate.scoring import evaluate_guard

    files = options.data or report_files()
    result: dict[str, Any] = {
        "benchmark": "quality",
        "quick": False,
        "started": _results.now(),
        "machine": describe(),
        "guards": [],
    }
    for folder in options.guards:
        _results.say(f"{folder} ...")
        _, found = evaluate_guard(folder, files, threads=options.threads)
        result["files"] = found["data"]
        result["guards"].append({**guard(found), "artefact": identity(folder)})
    _results.finish(result, options)
    print(_quality_table.quality(result))
    return 0


def report_files() -> list[Path]:
    """The reporting sets. BenchmarkDataError without the folder, or with nothing in it."""
    folder = os.environ.get("HARMGUARD_DATA")
    if not folder:
        raise BenchmarkDataError(
            "HARMGUARD_DATA is not set; expected the folder that holds report/*.jsonl.gz"
        )
    files = sorted((Path(folder) / "report").glob("*.jsonl.gz"))
    if not files:
        raise BenchmarkDataError(
            "HARMGUARD_DATA holds no report/*.jsonl.gz; expected the reporting sets; likely "
            "another folder"
        )
    return files


def identity(folder: Path) -> dict[str, str]:
    """The file that identifies a guard: a bundle's manifest, or a checkpoint's weights."""
    from harmguard.core.files import sha256_of

    name = "guard.json" if (folder / "guard.json").exists() else "model.safetensors"
    return {"file": name, "sha256": sha256_of(folder / name)}


def guard(report: dict[str, Any]) -> dict[str, Any]:
    """What is kept of one guard's report: its name, its figures by source, no text."""
    by_source = {
        f"{one['source']} ({one['kind']})": {
            "n": one["n"],
            **{name: one[name] for name in METRICS},
        }
        for one in report["sources"]
    }
    one_class = {
        f"{one['source']} ({one['kind']})": {
            "n": one["n"],
            "label": one["label"],
            "flagged": one["flagged"],
        }
        for one in report["one_class"]
    }
    macro = {kind: {n: one[n] for n in METRICS} for kind, one in report["macro"].items()}
    return {
        "guard": report["guard"],
        "thresholds": report["thresholds"],
        "macro": macro,
        "sources": by_source,
        "one_class": one_class,
    }


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m benchmarks quality", description=__doc__)
    made.add_argument("guards", type=Path, nargs="+", metavar="GUARD", help="bundle or checkpoint")
    made.add_argument("--data", type=Path, nargs="+", help="other labelled files")
    made.add_argument("--out", type=Path, help="raw JSON (default: results/quality.json)")
    made.add_argument("--threads", type=int, default=2, help="threads of bundles (default: 2)")
    made.set_defaults(quick=False)
    return made


if __name__ == "__main__":
    raise SystemExit(_results.guarded(main))
