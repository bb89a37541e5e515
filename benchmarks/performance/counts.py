"""A regression check for CI: counts of a bundle, for noise moves seconds.

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
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import results as _results
from benchmarks.harness.errors import BenchmarkDataError
from harmguard.bench import fresh_processes
from harmguard.bundle import EMBEDDED, open_bundle

BOUNDS = _results.ROOT / "benchmarks" / "inputs" / "mini_counts.json"
KEYS = ("nodes", "operators", "graph_bytes", "load_anonymous_mb")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print each count with its bound; 1 if one is off."""
    made = argparse.ArgumentParser(prog="python -m benchmarks counts", description=__doc__)
    made.formatter_class = argparse.RawDescriptionHelpFormatter
    made.add_argument("bundle", type=Path, nargs="?", default=EMBEDDED, help="default: mini")
    made.add_argument("--bounds", type=Path, default=BOUNDS, help="default: mini's")
    options = made.parse_args(arguments)
    found = count(options.bundle)
    print(json.dumps(found, indent=1))
    wrong = off(found, bounds(options.bounds))
    for line in wrong:
        print(line)
    print(f"{len(wrong)} counts off" if wrong else "all counts are within their bounds")
    return 1 if wrong else 0


def count(folder: Path) -> dict[str, Any]:
    """The counts of a bundle; memory is None where the system does not tell it.

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


def bounds(path: Path) -> dict[str, Any]:
    """The bounds in a file. BenchmarkDataError if it is none."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        missing = [key for key in KEYS if key not in found]
    except (OSError, ValueError) as error:
        raise BenchmarkDataError(
            f"{path} is unreadable ({type(error).__name__}); expected bounds as JSON"
        ) from None
    if missing:
        raise BenchmarkDataError(f"{path} has no {', '.join(missing)}; expected {', '.join(KEYS)}")
    return found


def off(found: Mapping[str, Any], most: Mapping[str, Any]) -> list[str]:
    """A line for each count above its bound, and for an operator type that has none."""
    pairs = {key: (found[key], most[key]) for key in KEYS if key != "operators"}
    pairs |= {
        f"operators of type {kind}": (number, most["operators"].get(kind, 0))
        for kind, number in found["operators"].items()
    }
    return [
        f"{name}: {number}; expected at most {bound}"
        for name, (number, bound) in pairs.items()
        if number is not None and number > bound
    ]


if __name__ == "__main__":
    raise SystemExit(_results.guarded(main))
