"""A cascade of two guards: AUPRC against mean cost, and whether the bound on the large one holds.

    HARMGUARD_DATA=... python -m benchmarks cascade harmguard/models/mini guards/large

Fitted on half of val, counted on the other half. Ways: never the large guard, the fitted band, the
same share by entropy (nearest to .5 on the common scale), always. Cost is seconds of both guards'
scoring on this machine, over the large guard's alone. No text is written.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import results as _results
from benchmarks.harness.data import val_rows
from harmguard import HarmGuard
from harmguard.bench import stats
from harmguard.rows import Row
from harmguard.training.evaluate import metrics
from harmguard.training.evaluate.cascade_fit import fit_kind, merged
from harmguard.training.evaluate.metrics import Floats
from harmguard.training.evaluate.thresholds import is_degenerate

SEED = 3
BOUNDS = (0.05, 0.1, 0.15, 0.25, 0.5)
QUICK_ROWS = 200


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write the raw JSON."""
    parser = _results.parser("cascade", "A cascade's quality against its cost.", checkpoint=False)
    parser.add_argument("large", type=Path, help="folder of the large guard")
    options = parser.parse_args(arguments)
    result = _results.begin("cascade", options)
    rows = [row for row in val_rows() if not is_degenerate(row.prompt, row.response)]
    random.Random(SEED).shuffle(rows)
    if options.quick:
        rows = rows[:QUICK_ROWS]
    small, small_s = timed(options.bundle, rows, options.threads)
    large, large_s = timed(options.large, rows, options.threads)
    result["seconds"] = {"small": small_s, "large": large_s}
    result["curves"] = {
        kind: curve(
            [n for n, row in enumerate(rows) if (row.response is None) == (kind == "prompt")],
            rows, small, large, kind, small_s / large_s,
        )
        for kind in ("prompt", "exchange")
    }  # fmt: skip
    _results.finish(result, options)
    print(result["curves"])
    return 0


def timed(bundle: Path, rows: Sequence[Row], threads: int) -> tuple[Floats, float]:
    """A guard's scores of the rows, and the seconds that they took."""
    with HarmGuard(bundle, threads=threads) as guard:
        guard.score("How do I bake bread?")
        begin = time.perf_counter()
        scores = guard.score_many([(row.prompt, row.response) for row in rows])
        return np.asarray(scores, np.float64), time.perf_counter() - begin


def curve(
    own: Sequence[int], rows: Sequence[Row], small: Floats, large: Floats, kind: str, ratio: float
) -> list[dict[str, Any]]:
    """One line for each way and bound, of the half that was not fitted on."""
    labels = np.array([rows[n].label for n in own], np.int64)
    sources = [rows[n].source for n in own]
    fitting = np.arange(len(own)) % 2 == 0
    held = ~fitting
    found: list[dict[str, Any]] = []
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
        if not found:
            found.append(_line("never", 0.0, p, labels[held], ratio))
            found.append(_line("always", 1.0, q, labels[held], 1.0))
        cost = ratio + float(up.mean())
        line = _line("band", bound, merged(p, q, band), labels[held], cost)
        benign = up[labels[held] == 0]
        line["benign_up"] = asdict(stats.wilson(int(benign.sum()), int(benign.size)))
        found += [line, _line("entropy", bound, entropy, labels[held], cost)]
    return found


def _line(way: str, bound: float, scores: Floats, labels: Any, cost: float) -> dict[str, Any]:
    auprc = metrics.point_metrics(labels, scores, 0.5)["auprc"]
    return {"way": way, "bound": bound, "cost": cost, "auprc": auprc}


if __name__ == "__main__":
    raise SystemExit(_results.guarded(main))
