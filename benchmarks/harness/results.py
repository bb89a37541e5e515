"""Raw results: what a run writes, whole or not at all."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NotRequired, TypedDict, TypeVar

from harmguard import HarmGuard
from harmguard.bench import stats
from harmguard.bench.machine import artefact, describe
from harmguard.bench.results import Artefact, Machine
from harmguard.bundle import open_bundle
from harmguard.core.files import write_file

ROOT = Path(__file__).resolve().parents[2]
INPUTS, RESULTS = ROOT / "benchmarks" / "inputs", ROOT / "benchmarks" / "results"

Size = TypeVar("Size")


class Head(TypedDict):
    """How every raw result begins: what ran, when, where, on which bundle."""

    benchmark: str
    quick: bool
    started: str
    machine: Machine
    threads: NotRequired[int]
    bundle: NotRequired[Artefact]


class Times(TypedDict):
    """`stats.Ratio`: how many times longer one thing takes than another."""

    fastest: float
    low: float
    high: float


class Share(TypedDict):
    """`stats.Share`: a proportion with its interval; the share of nothing is None."""

    count: int
    n: int
    share: float | None
    low: float
    high: float


def times(slow: Sequence[Sequence[float]], fast: Sequence[Sequence[float]]) -> Times:
    """As `stats.ratio` of rounds."""
    ratio = stats.ratio(slow, fast)
    return {"fastest": ratio.fastest, "low": ratio.low, "high": ratio.high}


def share(flags: Any) -> Share:
    """How many of the flags are set, as `stats.wilson`."""
    flags = [bool(flag) for flag in flags]
    part = stats.wilson(sum(flags), len(flags))
    return {"count": part.count, "n": part.n, "share": part.share, "low": part.low,
            "high": part.high}  # fmt: skip


class Run:
    """One run of a benchmark: its options, and where its result goes.

    A quick run's file is NAME.quick.json, so that it never replaces a measured result.
    """

    def __init__(self, name: str, options: argparse.Namespace) -> None:
        self.options = options
        self.quick: bool = options.quick
        self.path: Path = options.out or RESULTS / f"{name}{'.quick' * self.quick}.json"
        self.head: Head = {
            "benchmark": name,
            "quick": self.quick,
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": describe(),
        }
        if hasattr(options, "threads"):
            self.head["threads"] = options.threads
        if hasattr(options, "bundle"):
            self.head["bundle"] = artefact(open_bundle(options.bundle))

    def size(self, full: Size, quick: Size) -> Size:
        """The one that this run wants."""
        return quick if self.quick else full

    def guard(self) -> HarmGuard:
        """The guard that is measured."""
        return HarmGuard(self.options.bundle, threads=self.options.threads)

    def keep(self, figures: Mapping[str, Any]) -> None:
        """Write what there is so far beside the result's place, for a run that does not end."""
        write_json(self._partial(), {**self.head, **figures, "partial": True})

    def finish(self, figures: Any) -> None:
        """Write the result to its place, and remove what `keep` wrote."""
        write_json(self.path, {**self.head, **figures})
        self._partial().unlink(missing_ok=True)
        say(f"wrote {self.path}")

    def _partial(self) -> Path:
        return self.path.with_suffix(".partial.json")


def read_json(path: Path) -> Any:
    """The JSON of a file."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write JSON beside `path`, then rename, so that a reader never sees half a file."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text beside `path`, then rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, text, replace=True)


def say(message: str) -> None:
    """Progress, on stderr."""
    print(message, file=sys.stderr, flush=True)
