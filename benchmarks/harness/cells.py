"""What several tables have in common. Pure: the same JSON gives the same text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from benchmarks.harness.results import Head, Share
from harmguard.bench import markdown
from harmguard.bench.results import Timing
from harmguard.bench.run import NOISY

NAMES = {
    "harmguard": "harmguard",
    "torch": "transformers + torch fp32",
    "optimum": "optimum dynamic int8",
}


def machine(head: Head) -> str:
    """One paragraph: CPU, cores, memory, system, versions, and the artefact where it is one."""
    parts = [markdown.machine(head["machine"])]
    if "threads" in head:
        parts.append(f"{head['threads']} threads.")
    if "bundle" in head:
        bundle = head["bundle"]
        parts.append(
            f"Bundle {bundle['name']} {bundle['version']} ({bundle['recipe']}, "
            f"{bundle['status']}), guard.json sha256 `{digest(bundle)}`."
        )
    parts.append(f"Started {head['started']}" + (", a quick run." if head["quick"] else "."))
    return " ".join(parts)


def noise(cells: Iterable[Timing]) -> str:
    """One sentence: how many of the cells spread further than `harmguard bench` accepts."""
    spreads = [cell["spread"] for cell in cells]
    far = sum(spread > NOISY for spread in spreads)
    said = f"Noise: {far} of {len(spreads)} spreads are above {NOISY:.0%}"
    if not far:
        return f"{said}, the largest is {max(spreads, default=0):.0%}."
    return (
        f"{said}, the largest is {max(spreads):.0%}: others had the machine's cores as well, so "
        "ratios, of calls that took turns, say more than milliseconds."
    )


def digest(bundle: Mapping[str, Any]) -> str:
    """The first digits of what identifies a bundle."""
    return str(bundle["sha256"]["guard.json"][:16])


def percent(part: Share) -> str:
    """A share with its interval."""
    if part["share"] is None:
        return "-"
    return f"{part['share']:.1%} ({part['low']:.1%} to {part['high']:.1%})"
