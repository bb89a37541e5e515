"""The raw results of benchmarks.performance.scaling -> Markdown tables. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harmguard.bench.markdown import table


def scaling(result: Mapping[str, Any]) -> str:
    """Latency by tokens and batch, the distance from the limit, and where it goes."""
    parts = [
        f"Measured peak of large products, between the calls of each guard: {_peaks(result)}; a "
        f"product of one row reads {result['read_gbs']:.1f} GB/s. Call: the fastest of the grid "
        "and of those beside the products. "
        "Floor: the multiply-adds at the guard's own peak. MB read: the weights as the file has "
        "them, once, and a row of the embedding table a token; reading: at the measured rate, "
        "which caches exceed. Largest parts: shares of all kernels' time, of the bundle's own "
        "graph, each node's fastest call.",
        *(f"Missing: {name}: `{why}`" for name, why in result["missing"].items()),
    ]
    for guard in result["guards"]:
        about = guard["bundle"]
        title = f"{about['name']} {about['version']}, {about['recipe']}"
        digest = about["sha256"]["guard.json"][:16]
        loaded = "its prepared copy" if guard["prepared"] else "the bundle as it is"
        parts += [f"**{title}** (guard.json sha256 `{digest}`, {loaded}): ms a batch"]
        parts += [_grid(guard), _fit(guard["fit"])]
        parts += ["How far from the limit, one text at a time:", _limits(guard, result)]
    return "\n\n".join(parts)


def kind(guard: Mapping[str, Any]) -> str:
    """What most multiply-adds are of: fp32 for the recipe fp32, int8 for all others."""
    return "fp32" if guard["bundle"]["recipe"] == "fp32" else "int8"


def floor_ms(guard: Mapping[str, Any], tokens: str) -> float:
    """Milliseconds that the multiply-adds alone would take at the peak beside the guard's calls."""
    return float(2000 * macs(guard, tokens) / (guard["peak_gops"][kind(guard)] * 1e9))


def call_ms(guard: Mapping[str, Any], tokens: str) -> float:
    """Milliseconds of the fastest call of one text."""
    cells = [c for c in guard["cells"] if (c["batch"], str(c["tokens"])) == (1, tokens)]
    beside = [ms for key, ms in guard["calls_ms"].items() if key == tokens]
    return float(min([c["fastest_ms"] for c in cells] + beside))


def _peaks(result: Mapping[str, Any]) -> str:
    """Lowest and highest GOPS of each kind."""
    told = []
    for one in ("fp32", "int8"):
        found = [guard["peak_gops"][one] for guard in result["guards"]]
        told.append(f"{min(found):.0f} to {max(found):.0f} GOPS in {one}")
    return ", ".join(told)


def spent_ms(profile: Mapping[str, Any]) -> float:
    """Milliseconds of all kernels of a profile."""
    return sum(float(cell["ms"]) for cell in profile.values())


def macs(guard: Mapping[str, Any], tokens: str) -> float:
    """Multiply-adds of a verdict."""
    return sum(float(cell["macs"]) for cell in guard["profile"][tokens].values())


def read_mb(guard: Mapping[str, Any], tokens: str) -> float:
    """MB of weights that a verdict reads, as the file has them."""
    found = guard["bytes_read"]
    return float(found["whole"] + int(tokens) * found["token"]) / 1e6


def _grid(guard: Mapping[str, Any]) -> str:
    batches = sorted({cell["batch"] for cell in guard["cells"]})
    tokens = sorted({cell["tokens"] for cell in guard["cells"]})
    found = {(cell["batch"], cell["tokens"]): cell for cell in guard["cells"]}
    rows = [[str(n), *(_cell(found.get((batch, n))) for batch in batches)] for n in tokens]
    head = table(["tokens", *(f"batch {batch}" for batch in batches)], rows)
    note = "In brackets: peak of anonymous memory during the call, MB."
    if any(cell["n"] == 1 for cell in guard["cells"]):
        note += " *: a single call, the first of its shape; else a median of 2 to 7."
    refused = {cell["memory_error"] for cell in guard["cells"] if "memory_error" in cell}
    return "\n\n".join([head, note, *sorted(refused)])


def _cell(cell: Mapping[str, Any] | None) -> str:
    if cell is None:
        return "-"
    memory = cell["peak_anonymous_mb"]
    once = "*" if cell["n"] == 1 else ""
    return f"{cell['ms']:.1f}{once} ({'unknown' if memory is None else format(memory, '.0f')})"


def _fit(fit: Mapping[str, float]) -> str:
    return (
        f"Fit of the fastest calls: {fit['call_ms']:.2f} ms a call + "
        f"{1000 * fit['token_ms']:.1f} us a token + "
        f"{1e6 * fit['square_ms']:.0f} ns a token and token of its text; "
        f"off by {fit['worst']:.0%} at most."
    )


def _limits(guard: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    rows, read_gbs = [], result["read_gbs"]
    for tokens, profile in guard["profile"].items():
        total, call = spent_ms(profile), call_ms(guard, tokens)
        floor, read = floor_ms(guard, tokens), read_mb(guard, tokens)
        largest = list(profile.items())[:4]
        rows.append(
            [
                tokens,
                f"{macs(guard, tokens) / 1e6:.0f}",
                f"{floor:.2f}",
                f"{read:.1f}",
                f"{read / read_gbs:.2f}",
                f"{call:.2f}",
                f"{call / floor:.1f}" if floor else "-",
                ", ".join(f"{name} {cell['ms'] / total:.0%}" for name, cell in largest),
            ]
        )
    head = ["tokens", "million multiply-adds", "floor, ms", "MB read", "reading, ms"]
    return table([*head, "call, ms", "call / floor", "largest parts"], rows)
