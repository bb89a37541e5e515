"""A regression check for CI: counts of a bundle, because noise moves seconds.

    python -m benchmarks counts                    # the mini guard, as the test suite checks it
    python -m benchmarks counts BUNDLE --bounds FILE

Counted: nodes and operator types of the graph, bytes of the graph's files, and anonymous memory
of a fresh process that has loaded the guard with one thread. Exit status 0: within the bounds;
1: the named counts are not. Needs the package onnx (extra `bench`).
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import TypedDict

from benchmarks.harness.command import Script
from benchmarks.harness.errors import BenchmarkDataError
from benchmarks.harness.results import INPUTS, read_json
from harmguard.bench import fresh_processes
from harmguard.bundle import EMBEDDED, open_bundle

BOUNDS = INPUTS / "mini_counts.json"


class Counts(TypedDict):
    """What is counted of a bundle; memory is None where the system does not tell it."""

    nodes: int
    operators: dict[str, int]
    graph_bytes: int
    load_anonymous_mb: float | None


KEYS = tuple(Counts.__annotations__)


def arguments(parser: argparse.ArgumentParser) -> None:
    """BUNDLE and its bounds."""
    parser.add_argument("bundle", type=Path, nargs="?", default=EMBEDDED, help="default: mini")
    parser.add_argument("--bounds", type=Path, default=BOUNDS, help="default: mini's")


def run(options: argparse.Namespace) -> int:
    """Print each count with its bound; 1 if one is off."""
    counts = count(options.bundle)
    print(json.dumps(counts, indent=1))
    wrong = off(counts, bounds(options.bounds))
    for line in wrong:
        print(line)
    print(f"{len(wrong)} counts off" if wrong else "all counts are within their bounds")
    return 1 if wrong else 0


def count(folder: Path) -> Counts:
    """The counts of a bundle.

    Raises BundleError for a folder that is none, MemoryUnreadableError where memory may not be
    read, and BenchError if the process that loads the guard fails.
    """
    import onnx

    bundle = open_bundle(folder)
    graph = onnx.load(str(bundle.path("model.onnx")), load_external_data=False).graph
    kinds = Counter(node.op_type for node in graph.node)
    files = {n: entry.size for n, entry in bundle.manifest.files.items() if "model.onnx" in n}
    loaded = fresh_processes.state(folder.resolve(), 1, "load")["anonymous"]
    return {
        "nodes": kinds.total(),
        "operators": dict(sorted(kinds.items())),
        "graph_bytes": sum(files.values()),
        "load_anonymous_mb": None if loaded is None else round(loaded, 1),
    }


def bounds(path: Path) -> Counts:
    """The bounds in a file. BenchmarkDataError if it is none."""
    try:
        most: Counts = read_json(path)
        missing = [key for key in KEYS if key not in most]
    except (OSError, ValueError) as error:
        raise BenchmarkDataError(
            f"{path} is unreadable ({type(error).__name__}); expected bounds as JSON"
        ) from None
    if missing:
        raise BenchmarkDataError(f"{path} has no {', '.join(missing)}; expected {', '.join(KEYS)}")
    return most


def off(counts: Counts, most: Counts) -> list[str]:
    """A line for each count above its bound, and for an operator type that has none."""
    pairs: dict[str, tuple[float | None, float | None]] = {
        "nodes": (counts["nodes"], most["nodes"]),
        "graph_bytes": (counts["graph_bytes"], most["graph_bytes"]),
        "load_anonymous_mb": (counts["load_anonymous_mb"], most["load_anonymous_mb"]),
    }
    for kind, number in counts["operators"].items():
        pairs[f"operators of type {kind}"] = number, most["operators"].get(kind, 0)
    return [
        f"{name}: {number}; expected at most {bound}"
        for name, (number, bound) in pairs.items()
        if number is not None and bound is not None and number > bound
    ]


COMMAND = Script(__name__, arguments, run)
