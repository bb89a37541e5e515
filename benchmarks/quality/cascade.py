"""A cascade of two guards: AUPRC against mean cost, and whether the bound on the large one holds.

    HARMGUARD_DATA=... python -m benchmarks cascade harmguard/models/mini guards/large

Fitted on half of val, counted on the other half. Ways: never the large guard, the fitted band, the
same share by entropy (nearest to .5 on the common scale), always. Cost is seconds of both guards'
scoring on this machine, over the large guard's alone. No text is written.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np

from benchmarks.harness.cells import digest
from benchmarks.harness.command import Benchmark, takes_bundle
from benchmarks.harness.data import val_rows
from benchmarks.harness.results import Run, Share, share
from harmguard import HarmGuard
from harmguard.bench.machine import artefact
from harmguard.bench.markdown import table
from harmguard.bench.results import Artefact
from harmguard.bundle import open_bundle
from harmguard.rows import Row
from harmguard.training.evaluate import metrics
from harmguard.training.evaluate.cascade_fit import fit_kind, merged
from harmguard.training.evaluate.metrics import Floats
from harmguard.training.evaluate.thresholds import is_degenerate

SEED = 3
BOUNDS = (0.05, 0.1, 0.15, 0.25, 0.5)
QUICK_ROWS = 200


class Line(TypedDict):
    """One way at one bound."""

    way: str
    bound: float
    cost: float
    auprc: float
    benign_up: NotRequired[Share]


class Cascade(TypedDict):
    """The raw result; curves by kind of input."""

    large: Artefact
    seconds: dict[str, float]
    curves: dict[str, list[Line]]


def arguments(parser: argparse.ArgumentParser) -> None:
    """BUNDLE LARGE."""
    takes_bundle(parser)
    parser.add_argument("large", type=Path, help="folder of the large guard")


def measure(run: Run) -> Cascade:
    """Score all rows by both, then draw the curves."""
    rows = [row for row in val_rows() if not is_degenerate(row.prompt, row.response)]
    random.Random(SEED).shuffle(rows)
    rows = rows[: run.size(None, QUICK_ROWS)]
    small, small_s = timed(run.options.bundle, rows, run.options.threads)
    large, large_s = timed(run.options.large, rows, run.options.threads)
    curves = {}
    for kind in ("prompt", "exchange"):
        own = [n for n, row in enumerate(rows) if (row.response is None) == (kind == "prompt")]
        curves[kind] = curve(own, rows, small, large, kind, small_s / large_s)
    return {
        "large": artefact(open_bundle(run.options.large)),
        "seconds": {"small": small_s, "large": large_s},
        "curves": curves,
    }


def tables(result: Cascade) -> str:
    """A line for each way and bound."""
    rows = [
        [kind, one["way"], f"{one['bound']:g}", f"{one['cost']:.3f}", f"{one['auprc']:.4f}"]
        for kind, lines in result["curves"].items()
        for one in lines
    ]
    large = result["large"]
    return (
        f"The large guard: {large['name']} {large['version']} ({large['recipe']}), guard.json "
        f"sha256 `{digest(large)}`. Cost: of scoring all texts by it.\n\n"
        + table(["input", "way", "bound", "cost", "AUPRC"], rows)
    )


def timed(bundle: Path, rows: Sequence[Row], threads: int) -> tuple[Floats, float]:
    """A guard's scores of the rows, and the seconds that they took."""
    with HarmGuard(bundle, threads=threads) as guard:
        guard.score("How do I bake bread?")
        begin = time.perf_counter()
        scores = guard.score_many([(row.prompt, row.response) for row in rows])
        return np.asarray(scores, np.float64), time.perf_counter() - begin


def curve(
    own: Sequence[int], rows: Sequence[Row], small: Floats, large: Floats, kind: str, ratio: float
) -> list[Line]:
    """One line for each way and bound, of the half that was not fitted on."""
    labels = np.array([rows[n].label for n in own], np.int64)
    sources = [rows[n].source for n in own]
    fitting = np.arange(len(own)) % 2 == 0
    held = ~fitting
    lines: list[Line] = []
    for bound in BOUNDS:
        fit, _ = fit_kind(
            small[own][fitting], large[own][fitting], labels[fitting],
            [s for s, mine in zip(sources, fitting, strict=True) if mine], kind, bound,
        )  # fmt: skip
        p, q = fit.small.of(small[own])[held], fit.large.of(large[own])[held]
        band = fit.band
        up = np.zeros(p.size, bool) if band is None else (band[0] <= p) & (p <= band[1])
        nearest = np.argsort(np.abs(p - 0.5), kind="stable")[: int(up.sum())]
        entropy = p.copy()
        entropy[nearest] = q[nearest]
        if not lines:
            lines.append(_line("never", 0.0, p, labels[held], ratio))
            lines.append(_line("always", 1.0, q, labels[held], 1.0))
        cost = ratio + float(up.mean())
        line = _line("band", bound, merged(p, q, band), labels[held], cost)
        line["benign_up"] = share(up[labels[held] == 0])
        lines += [line, _line("entropy", bound, entropy, labels[held], cost)]
    return lines


def _line(way: str, bound: float, scores: Floats, labels: Any, cost: float) -> Line:
    auprc = metrics.point_metrics(labels, scores, 0.5)["auprc"]
    return {"way": way, "bound": bound, "cost": cost, "auprc": auprc}


COMMAND = Benchmark(__name__, arguments, measure, tables)
