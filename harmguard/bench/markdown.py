"""The result of a measurement in words: what `harmguard bench` prints. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harmguard.bench.fresh_processes import BUDGET
from harmguard.bench.machine import FEATURES
from harmguard.bench.results import (
    STATES,
    STEPS,
    Artefact,
    Failed,
    Latency,
    Machine,
    Measurement,
    Memory,
    MemoryKind,
    Noise,
    SmallDevice,
    Startup,
    State,
    Step,
    Throughput,
    Timing,
)

UNKNOWN = "unknown"
STEP_NAMES: dict[Step, str] = {
    "python": "start of Python",
    "import": "import harmguard",
    "load": "HarmGuard(...)",
    "first_score": "first score",
    "total": "process start to first score",
}


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with aligned columns; all but the first are right-aligned."""
    widths = [max(3, *(len(line[i]) for line in [head, *rows])) for i in range(len(head))]
    rules = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = []
    for line in [head, rules, *rows]:
        first, *others = (cell for cell in line)
        cells = [first.ljust(widths[0]), *map(str.rjust, others, widths[1:])]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def number(value: float | None, digits: int) -> str:
    """A number with so many digits after the point, or "unknown"."""
    return UNKNOWN if value is None else f"{value:.{digits}f}"


def text(result: Measurement) -> str:
    """The whole result: the machine, the bundle, and a table for each part."""
    parts: tuple[tuple[str, Any, Any], ...] = (
        ("Latency, one pair at a time, text to score", latency, result["latency_ms"]),
        ("Throughput", throughput, result["throughput"]),
        ("Start-up", startup, result["startup_s"]),
        ("Memory, MB", memory, result["memory_mb"]),
    )
    return "\n\n".join(
        [
            machine(result["machine"]),
            bundle(result["bundle"]),
            *(f"{head}\n\n{p['error'] if 'error' in p else draw(p)}" for head, draw, p in parts),
            noise(result["machine"]["noise"]),
        ]
    )


def machine(about: Machine) -> str:
    """One sentence: CPU, cores, memory, system, versions; what is not known is said to be so."""
    features = UNKNOWN if about["features"] is None else ", ".join(about["features"]) or "none"
    asked = about.get("features_asked")
    if asked is not None and len(asked) < len(FEATURES):
        features += f"; asked for {', '.join(asked)} only, all others are unknown"
    versions = ", ".join(f"{k} {v}" for k, v in about["packages"].items() if v)
    limit = about["memory_limit_mb"]
    return (
        f"{about['cpu'] or UNKNOWN} ({features}), {about['cores_allowed'] or UNKNOWN} of "
        f"{about['cores'] or UNKNOWN} cores allowed, {number(about['memory_mb'], 0)} MB of memory"
        + (f" ({limit} allowed)" if limit else "")
        + f", {about['os']}, Python {about['python']}, {versions}; "
        f"load average at the start {number(about['load_average'], 2)}."
    )


def bundle(about: Artefact) -> str:
    """One sentence: name, version, recipe, size, hash, golden pairs."""
    golden = about["golden"]
    return (
        f"Bundle {about['name']} {about['version']} ({about['recipe']}, {about['status']}), "
        f"{about['bytes'] / 1e6:.1f} MB, guard.json sha256 {about['sha256']['guard.json'][:16]}. "
        f"Its {golden['rows']} golden pairs are within {golden['worst_error']:.4f} of their scores."
    )


def latency(part: Latency) -> str:
    """A row for each length, with each number of threads and on the small device."""
    small = part["small_device"]
    columns: dict[str, Mapping[str, Timing | Failed]] = {
        f"{t} thread{'s' * (t != '1')}": by for t, by in part["threads"].items()
    }
    if "error" in small:
        last = f"One core, limited memory: {small['error']}"
    else:
        title = "one core" if small["cores"] == 1 else "1 thread, any core"
        if small["limited"]:
            title += f", {small['limit_mb']:.0f} MB"
        columns[title] = small["tokens"]
        last = f"Last column: {_bounds(small)}."
    lengths = next(iter(part["threads"].values()))
    rows = [[n, *(_cell(by.get(n)) for by in columns.values())] for n in lengths]
    lines = [
        table(["tokens", *(f"{name}, ms" for name in columns)], rows),
        "Each cell: median (p90, p99; spread, n). Spread is (p90 - p10) / median; p99 needs 100.",
        last,
    ]
    return "\n\n".join(lines)


def _bounds(small: SmallDevice) -> str:
    """What the small device was held to, and what this system cannot hold a process to."""
    cores = (
        "all on one core"
        if small["cores"] == 1
        else "one thread, because this system keeps no process on one core without privileges"
    )
    if small["limited"]:
        memory = f"private memory limited to {BUDGET:g} times the peak of anonymous memory below"
    elif small["limit_mb"] is None:
        memory = "memory not limited, because how much the guard takes is unknown"
    else:
        memory = "memory not limited, because this system enforces no limit without privileges"
    return f"{cores}; {memory}"


def throughput(part: Throughput) -> str:
    """Pairs in a second, in bulk and one by one."""
    shortest, longest = part["tokens"]
    rows = [
        ["score_many", number(part["score_many_pairs_per_s"], 1)],
        ["one_by_one", number(part["one_by_one_pairs_per_s"], 1)],
    ]
    return (
        table(["way", "pairs / s"], rows)
        + f"\n\n{part['pairs']} pairs of {shortest} to {longest} tokens, "
        f"threads {part['threads']}, median of {len(part['rounds_s']['score_many'])} rounds."
    )


def startup(part: Startup) -> str:
    """Start-up by step."""
    rows = [
        [STEP_NAMES[step], f"{part[step]['median']:.3f}", f"{part[step]['p90']:.3f}"]
        for step in STEPS
    ]
    count = part["total"]["n"]
    return (
        table(["step", "median s", "p90 s"], rows)
        + f"\n\nn = {count} fresh processes, files in the page cache."
    )


def memory(part: Memory) -> str:
    """Memory by state of a process."""
    titles: dict[State, str] = {
        "import": "after the import",
        "load": "after loading",
        "first_score": "after the first score",
        "long_score": f"after a score of {part['long_tokens']} tokens",
        "batch": f"after a batch of {part['batch_pairs']} pairs of {part['long_tokens']} tokens",
    }
    kinds: dict[MemoryKind, str] = {
        "anonymous": "anonymous",
        "peak_anonymous": "its peak",
        "file": "file-backed",
        "pss": "PSS",
        "peak": "peak resident",
    }
    rows = [[titles[state], *(number(part[state][kind], 1) for kind in kinds)] for state in STATES]
    return table(["process", *kinds.values()], rows) + "\n\nEach row is a fresh process."


def noise(spread: Noise) -> str:
    """One sentence on whether the machine was quiet."""
    worst = spread["worst_spread"]
    if worst is None:
        return "Noise: unknown, no latency was measured."
    if spread["noisy"]:
        return (
            f"TOO NOISY: the largest spread is {worst:.0%}, above {spread['bound']:.0%}: something "
            "else was running, and the figures are no measure of this guard. Run it again."
        )
    return f"Noise: the largest spread is {worst:.0%}; up to {spread['bound']:.0%} is quiet enough."


def _cell(taken: Timing | Failed | None) -> str:
    if taken is None:
        return "-"
    if "error" in taken:
        return "too few samples"
    p99 = "" if taken["p99"] is None else f", {taken['p99']:.1f}"
    tail = f"{taken['p90']:.1f}{p99}; {taken['spread']:.0%}, {taken['n']}"
    return f"{taken['median']:.1f} ({tail})"
