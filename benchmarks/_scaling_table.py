"""The raw results of benchmarks.scaling -> Markdown tables. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harmguard.bench.show import table


def scaling(result: Mapping[str, Any]) -> str:
    """Latency by tokens and batch, the distance from the limit, and where it goes."""
    peak = result["peak_gops"]
    parts = [
        f"Measured peak of one large product: {peak['fp32']:.0f} GOPS in fp32, "
        f"{peak['int8']:.0f} in int8."
    ]
    for guard in result["guards"]:
        about = guard["bundle"]
        title = f"{about['name']} {about['version']}, {about['recipe']}"
        parts += [f"**{title}**: ms a batch", _grid(guard), _fit(guard["fit"])]
        parts += ["How far from the limit, one text at a time:", _limits(guard, peak)]
    return "\n\n".join(parts)


def floor_ms(profile: Mapping[str, Any], peak_gops: float) -> float:
    """Milliseconds that the multiply-adds alone would take at the measured peak."""
    return 2000 * sum(float(cell["macs"]) for cell in profile.values()) / (peak_gops * 1e9)


def peak_of(guard: Mapping[str, Any], peak: Mapping[str, float]) -> float:
    """The peak that a guard's recipe is held against: fp32 for fp32, int8 for all others."""
    return peak["fp32" if guard["bundle"]["recipe"] == "fp32" else "int8"]


def _grid(guard: Mapping[str, Any]) -> str:
    batches = sorted({cell["batch"] for cell in guard["cells"]})
    tokens = sorted({cell["tokens"] for cell in guard["cells"]})
    found = {(cell["batch"], cell["tokens"]): cell for cell in guard["cells"]}
    rows = [[str(n), *(_cell(found.get((batch, n))) for batch in batches)] for n in tokens]
    head = table(["tokens", *(f"batch {batch}" for batch in batches)], rows)
    return f"{head}\n\nIn brackets: peak of anonymous memory during the call, MB."


def _cell(cell: Mapping[str, Any] | None) -> str:
    if cell is None:
        return "-"
    memory = cell["peak_anonymous_mb"]
    return f"{cell['ms']:.1f} ({'unknown' if memory is None else format(memory, '.0f')})"


def _fit(fit: Mapping[str, float]) -> str:
    return (
        f"Fit: {fit['call_ms']:.2f} ms a call + {1000 * fit['token_ms']:.1f} us a token + "
        f"{1e6 * fit['square_ms']:.0f} ns a token and token of its text; "
        f"off by {fit['worst']:.0%} at most."
    )


def _limits(guard: Mapping[str, Any], peak: Mapping[str, float]) -> str:
    rows = []
    for tokens, profile in guard["profile"].items():
        total = sum(cell["ms"] for cell in profile.values())
        floor = floor_ms(profile, peak_of(guard, peak))
        largest = list(profile.items())[:4]
        rows.append(
            [
                tokens,
                f"{sum(cell['macs'] for cell in profile.values()) / 1e6:.0f}",
                f"{floor:.2f}",
                f"{total:.2f}",
                f"{total / floor:.1f}" if floor else "-",
                ", ".join(f"{name} {cell['ms'] / total:.0%}" for name, cell in largest),
            ]
        )
    head = ["tokens", "million multiply-adds", "floor, ms", "kernels, ms", "times", "largest parts"]
    read = guard["model_bytes"] / 1e6
    return (
        f"{table(head, rows)}\n\nThe floor is the multiply-adds at the measured peak; the model's "
        f"file is {read:.1f} MB, of which a call reads all but most rows of its embedding table."
    )
