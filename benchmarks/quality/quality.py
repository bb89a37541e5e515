"""Quality of guards side by side on the reporting sets, with confidence intervals.

    HARMGUARD_DATA=... python -m benchmarks quality harmguard/models/mini runs/mini

Each GUARD is a bundle (a recipe) or the fp32 checkpoint that it came from; thresholds are each
guard's own. Reads report/*.jsonl.gz below HARMGUARD_DATA, or the files of --data. Looks at the
reporting sets are counted: log each in docs/experiments.md. Needs the extra `train`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from benchmarks.harness.command import Benchmark, takes_threads
from benchmarks.harness.data import data_folder
from benchmarks.harness.errors import BenchmarkDataError
from benchmarks.harness.results import Run, say
from harmguard.bench.markdown import table

TITLES = {
    "auprc": "AUPRC",
    "f1": "F1",
    "precision": "precision",
    "recall": "recall",
    "fpr": "safe rows flagged",
}
METRICS = tuple(TITLES)


class Interval(TypedDict):
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


class OneClass(TypedDict):
    """A set that has one label alone."""

    n: int
    label: str
    flagged: Interval


class Guard(TypedDict):
    """What is kept of one guard's report; a source has its n beside METRICS."""

    guard: dict[str, str]
    thresholds: dict[str, float]
    macro: dict[str, dict[str, Interval]]
    sources: dict[str, dict[str, Any]]
    one_class: dict[str, OneClass]
    artefact: dict[str, str]


class Quality(TypedDict):
    """The raw result."""

    files: NotRequired[Any]
    guards: list[Guard]


def arguments(parser: argparse.ArgumentParser) -> None:
    """Guards and files."""
    parser.add_argument("guards", type=Path, nargs="+", metavar="GUARD", help="bundle, checkpoint")
    parser.add_argument("--data", type=Path, nargs="+", help="other labelled files")
    takes_threads(parser)


def measure(run: Run) -> Quality:
    """Score all rows by all guards."""
    from harmguard.training.evaluate.scoring import evaluate_guard

    files = run.options.data or report_files()
    figures: Quality = {"guards": []}
    for folder in run.options.guards:
        say(f"{folder} ...")
        _, report = evaluate_guard(folder, files, threads=run.options.threads)
        figures["files"] = report["data"]
        figures["guards"].append(guard(report, identity(folder)))
    return figures


def report_files() -> list[Path]:
    """The reporting sets. BenchmarkDataError without the folder, or with nothing in it."""
    files = sorted((data_folder("report/*.jsonl.gz") / "report").glob("*.jsonl.gz"))
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


def guard(report: Any, artefact: dict[str, str]) -> Guard:
    """What is kept of one guard's report: its name, its figures by source, no text."""
    by_source = {
        f"{one['source']} ({one['kind']})": {
            "n": one["n"],
            **{name: one[name] for name in METRICS},
        }
        for one in report["sources"]
    }
    one_class: dict[str, OneClass] = {
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
        "artefact": artefact,
    }


def tables(result: Quality) -> str:
    """One table for the macro figures, one for each metric by source, one for one-label sets."""
    guards = result["guards"]
    names = [f"{one['guard']['name']}, {one['guard']['model']}" for one in guards]
    parts = []
    for metric, title in TITLES.items():
        rows = [
            [f"macro, {kind}", "", *(_cell(one["macro"][kind][metric]) for one in guards)]
            for kind in guards[0]["macro"]
        ]
        rows += [
            [source, str(own["n"]), *(_cell(one["sources"][source][metric]) for one in guards)]
            for source, own in guards[0]["sources"].items()
        ]
        parts.append(f"{title}:\n\n{table(['source', 'n', *names], rows)}")
    ones = guards[0]["one_class"]
    if ones:
        rows = [
            [
                source,
                own["label"],
                str(own["n"]),
                *(_cell(one["one_class"][source]["flagged"]) for one in guards),
            ]
            for source, own in ones.items()
        ]
        head = table(["source", "label", "n", *names], rows)
        parts.append(f"Sets with one label, share flagged:\n\n{head}")
    digests = [
        f"{name} {one['artefact']['file']} `{one['artefact']['sha256'][:16]}`"
        for name, one in zip(names, guards, strict=True)
    ]
    parts.append(f"Guards, by their sha256: {', '.join(digests)}.")
    parts.append(
        "At each guard's default thresholds; 95 % intervals in brackets (bootstrap, stratified by "
        "source and label; Wilson for shares)."
    )
    return "\n\n".join(parts)


def _cell(value: Interval) -> str:
    return f"{value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"


COMMAND = Benchmark(__name__, arguments, measure, tables, quick=False)
