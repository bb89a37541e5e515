"""What every benchmark shares: its command line, the artefact's identity, and its raw JSON."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harmguard.bench.machine import artefact, describe
from harmguard.bundle import open_bundle
from harmguard.core.files import write_file
from harmguard.errors import HarmGuardError

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"


def parser(name: str, about: str, *, checkpoint: bool) -> argparse.ArgumentParser:
    """The command line of a benchmark: BUNDLE [CHECKPOINT] --out --quick --threads."""
    made = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}",
        description=about,
        epilog=f"example: python -m benchmarks.{name} harmguard/models/mini"
        + (" runs/mini" if checkpoint else ""),
    )
    made.add_argument("bundle", type=Path, help="folder of the guard that is measured")
    if checkpoint:
        made.add_argument(
            "checkpoint", type=Path, help="Hugging Face folder that the bundle was exported from"
        )
        made.add_argument(
            "--optimum", type=Path, help="optimum's export of it (default: made for this run)"
        )
    made.add_argument(
        "--out", type=Path, help=f"raw JSON (default: benchmarks/results/{name}.json)"
    )
    made.add_argument("--quick", action="store_true", help="few samples, to see that it runs")
    made.add_argument("--threads", type=int, default=2, help="threads of each runtime (default: 2)")
    return made


def begin(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """The head of a result: what ran, when, where, on which artefact."""
    return {
        "benchmark": name,
        "quick": options.quick,
        "started": now(),
        "threads": options.threads,
        "machine": describe(),
        "bundle": artefact(open_bundle(options.bundle)),
    }


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def place(result: Mapping[str, Any], options: argparse.Namespace) -> Path:
    """Where a result goes: as the options say, or NAME.json, NAME.quick.json for a quick run.

    So a quick run never replaces a measured result.
    """
    name = result["benchmark"] + (".quick.json" if options.quick else ".json")
    given: Path | None = options.out
    return RESULTS / name if given is None else given


def keep(result: Mapping[str, Any], options: argparse.Namespace) -> None:
    """Write what there is so far beside the result's place, for a run that does not end."""
    write_json(_partial(place(result, options)), {**result, "partial": True})


def _partial(path: Path) -> Path:
    return path.with_suffix(".partial.json")


def finish(result: Mapping[str, Any], options: argparse.Namespace) -> Path:
    """Write the raw JSON to its place, which is returned, and remove what `keep` wrote."""
    path = place(result, options)
    write_json(path, result)
    _partial(path).unlink(missing_ok=True)
    say(f"wrote {path}")
    return path


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write JSON beside `path`, then rename, so that a reader never sees half a file."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text beside `path`, then rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, text, replace=True)


def guarded(main: Callable[[], int]) -> int:
    """Run a benchmark's `main`; an error that is named becomes one line on stderr and status 3."""
    try:
        return main()
    except HarmGuardError as error:
        say(f"{type(error).__name__}: {error}")
        return 3


def say(message: str) -> None:
    """Progress, on stderr."""
    print(message, file=sys.stderr, flush=True)
