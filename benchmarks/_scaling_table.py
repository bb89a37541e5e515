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
        f"{peak['int8']:.0f} in int8; a product of one row reads {result['read_gbs']:.1f} GB/s. "
        "Kernels: the fastest call of each node. Floor: the multiply-adds at the peak that was "
        "measured between them. MB read: the weights as the file has them, once, and a row "
        "of the embedding table a token; reading: at the measured rate, which caches exceed."
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


def floor_ms(guard: Mapping[str, Any], tokens: str, peak_gops: Mapping[str, float]) -> float:
    """Milliseconds that the multiply-adds alone would take at the measured peak.

    The peak is fp32's for the recipe fp32, int8's for all others.
    """
    peak = peak_gops["fp32" if guard["bundle"]["recipe"] == "fp32" else "int8"]
    return float(2000 * macs(guard, tokens) / (peak * 1e9))


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
    return f"{head}\n\nIn brackets: peak of anonymous memory during the call, MB."


def _cell(cell: Mapping[str, Any] | None) -> str:
    if cell is None:
        return "-"
    memory = cell["peak_anonymous_mb"]
    return f"{cell['ms']:.1f} ({'unknown' if memory is None else format(memory, '.0f')})"


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
        total = spent_ms(profile)
        floor, read = floor_ms(guard, tokens, result["peak_gops"]), read_mb(guard, tokens)
        largest = list(profile.items())[:4]
        rows.append(
            [
                tokens,
                f"{macs(guard, tokens) / 1e6:.0f}",
                f"{floor:.2f}",
                f"{read:.1f}",
                f"{read / read_gbs:.2f}",
                f"{total:.2f}",
                f"{total / floor:.1f}" if floor else "-",
                ", ".join(f"{name} {cell['ms'] / total:.0%}" for name, cell in largest),
            ]
        )
    head = ["tokens", "million multiply-adds", "floor, ms", "MB read", "reading, ms"]
    return table([*head, "kernels, ms", "kernels / floor", "largest parts"], rows)
