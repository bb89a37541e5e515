"""The raw results of portability -> a Markdown table. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from harmguard.bench.markdown import table

HEAD = (
    *("processor", "largest difference", "mean", "flips", "far flips"),
    *("probe", "s / pair", "times plain"),
)
_FROM = {
    "golden": "golden pairs of the bundle",
    "benign": "benign pairs of the export",
    "near": "rows of the development set nearest to the threshold",
}


def portability(result: Mapping[str, Any]) -> str:
    """A row for each processor, and one more where onnxruntime's exact products were asked for."""
    rows = []
    for name, cpu in result["cpus"].items():
        title = f"{name} ({', '.join([cpu['machine'], *cpu['features']])})"
        for kind, run in cpu["runs"].items():
            rows.append(_row(title if kind == "plain" else f"{name}, x64quantprecision", run))
    counts = Counter(pair["from"] for pair in result["pairs"])
    pairs = ", ".join(f"{count} {_FROM[origin]}" for origin, count in counts.items())
    return (
        f"{table(HEAD, rows)}\n\n"
        f"Pairs: {pairs}. Difference: of the scores, to the native run. Flips: decisions that are "
        "others, over the pairs and every operating point; far: further than "
        f"{result['limit']:g} from the threshold. Probe: what a product of the largest 8-bit "
        "integers gives of the right result; below 1 the processor saturates. Seconds under an "
        "emulator tell nothing about the processor. Times plain: seconds with the option over "
        "those without, the median over the pairs, one pair with either in turn."
    )


def _row(title: str, run: Mapping[str, Any]) -> list[str]:
    return [
        title,
        *(f"{run['difference'][key]:.5f}" for key in ("max", "mean")),
        *(str(run["flips"]), str(run["far_flips"])),
        f"{run['probe']:.3f}",
        f"{run['s_per_pair']:.3f}",
        f"{run['times_plain']:.2f}",
    ]
