"""What is kept of peers, their table and their picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NotRequired, TypedDict

from benchmarks.harness.cells import digest, noise
from benchmarks.harness.picture import COLOURS, figure, save, short
from benchmarks.harness.results import Times
from benchmarks.runtimes.environments import Cost
from benchmarks.runtimes.models import PEERS
from benchmarks.runtimes.sameness import Distance
from harmguard.bench.markdown import number, table
from harmguard.bench.results import Artefact, Timing
from harmguard.bench.run import MIN_SAMPLES

WEIGHTS = {
    "given": "weights of a trained checkpoint",
    "rebuilt": "weights of the shipped int8 guard, dequantised, so that the score errors leave out "
    "what rounding the weights cost when it was exported",
    "random": "random weights",
}


class ScoreError(Distance):
    """The distance from torch fp32, that of the bare model's logits too."""

    model_logit: float


class Loads(TypedDict):
    """Seconds of the fastest of some loads."""

    best: float
    n: int


class Row(TypedDict):
    """One peer; by tokens: its milliseconds, how many times the anchor's, its errors."""

    versions: dict[str, str]
    load_s: Loads
    memory_mb: dict[str, float | None]
    memory_error: NotRequired[str]
    bundle: Artefact | None
    file_mb: float
    prepared_mb: float | None
    installed_mb: float
    one_time: dict[str, Cost | None]
    ms: dict[str, Timing]
    times_anchor: dict[str, Times]
    score_error: dict[str, ScoreError]


class Peers(TypedDict):
    """The raw result."""

    size: str
    weights: str
    anchor: str
    lengths: list[int]
    rows: dict[str, Row]
    missing: dict[str, str]


def tables(result: Peers) -> str:
    """A row for each peer that ran, then the missing ones with their reasons, then versions."""
    lengths = [str(n) for n in result["lengths"]]
    head = [
        "runtime",
        *(f"ms at {n} tokens" for n in lengths),
        *("load, s", "anonymous MB", "PSS MB", "file MB", "installed MB", "score error"),
    ]
    rows = {name: result["rows"][name] for name in PEERS if name in result["rows"]}
    cells = [cell for row in rows.values() for cell in row["ms"].values()]
    anchor = PEERS[result["anchor"]].title
    copies = any(row["prepared_mb"] for row in rows.values())
    parts = [
        table(head, [_row(name, row, lengths) for name, row in rows.items()]),
        f"Medians (p90, from n = {MIN_SAMPLES} on) and how many times {anchor} takes: of the "
        "fastest calls (range of the turns' medians), against its calls right before them. "
        "Rows were not timed at the same moments, so the quotient of two medians is another "
        f"figure. n = {_span([c['n'] for c in cells])} by row; {WEIGHTS[result['weights']]}.",
        noise(cells),
        "Load: from a running interpreter to a loaded model, imports included, the best of "
        f"{_span([row['load_s']['n'] for row in rows.values()])}. Memory: after a score of 128 "
        "tokens; PSS counts file-backed pages as well, such as mapped weights. File: the model's, "
        f"for harmguard the bundle's{' and what its prepared copy adds' if copies else ''}. "
        "Installed: all packages of the peer's environment, its converter included. Score error: "
        "the largest distance from torch fp32, the bare model's logits in brackets"
        + ("." if "torch" in rows else "; none without torch, which is missing."),
        f"Bundles, by the sha256 of guard.json: {_bundles(rows)}.",
        f"Missing: {_missing(result['missing'])}",
        f"Made once, not timed: {'; '.join(_cost(name, row) for name, row in rows.items())}. "
        "Rows of one tool share its environment, optimum's also the conversion.",
        f"Versions: {'; '.join(_versions(name, row) for name, row in rows.items())}.",
    ]
    refused = {row["memory_error"] for row in rows.values() if "memory_error" in row}
    return "\n\n".join([*parts, *sorted(refused)])


def _bundles(rows: Mapping[str, Row]) -> str:
    own = {name: row["bundle"] for name, row in rows.items() if row["bundle"]}
    return ", ".join(f"{name} `{digest(bundle)}`" for name, bundle in own.items()) or "none"


def _row(name: str, row: Row, lengths: list[str]) -> list[str]:
    errors = row["score_error"].values()
    return [
        PEERS[name].title,
        *(_latency(row["ms"].get(n), row["times_anchor"].get(n)) for n in lengths),
        f"{row['load_s']['best']:.2f}",
        number(row["memory_mb"]["anonymous"], 0),
        number(row["memory_mb"]["pss"], 0),
        _files(row),
        f"{row['installed_mb']:.0f}",
        _error(list(errors)),
    ]


def _files(row: Row) -> str:
    own = row["prepared_mb"]
    return f"{row['file_mb']:.0f}" + (f" + {own:.0f}" if own else "")


def _error(errors: Sequence[ScoreError]) -> str:
    if not errors:
        return "-"
    score, logit = (max(one["max"] for one in errors), max(one["model_logit"] for one in errors))
    return f"{score:.4f} ({logit:.4f})"


def _latency(cell: Timing | None, times: Times | None) -> str:
    if cell is None:
        return "-"
    tail = f" ({cell['p90']:.1f})" if cell["n"] >= MIN_SAMPLES else ""
    if not times or times["low"] == times["high"] == 1:
        return f"{cell['median']:.1f}{tail}"
    spread = f"{times['low']:.2f} to {times['high']:.2f}"
    return f"{cell['median']:.1f}{tail}, x{times['fastest']:.2f} ({spread})"


def _missing(missing: Mapping[str, str]) -> str:
    if not missing:
        return "none."
    # A reason may hold what Markdown reads as a tag.
    reasons = [f"- {PEERS[name].title}: `{reason}`" for name, reason in missing.items()]
    return "\n\n" + "\n".join(reasons)


def _cost(name: str, row: Row) -> str:
    cost = row["one_time"]
    spent = [(what, cost.get(key)) for key, what in _ONCE]
    steps = [f"{what} {one['seconds']:.0f} s" for what, one in spent if one]
    return f"{PEERS[name].title} {', '.join(steps)}"


_ONCE = (("install", "installed in"), ("export", "exported in"), ("convert", "converted in"))


def _versions(name: str, row: Row) -> str:
    return f"{PEERS[name].title} " + ", ".join(f"{k} {v}" for k, v in row["versions"].items())


def _span(counts: list[int]) -> str:
    low, high = min(counts, default=0), max(counts, default=0)
    return str(low) if low == high else f"{low} to {high}"


def draw(result: Peers, path: Path) -> None:
    """A bar for each runtime and length, the fastest at the shortest length on top."""
    picture = figure((8.4, 0.55 * len(result["rows"]) + 1.6))
    axes = picture.subplots()
    lengths = [str(n) for n in result["lengths"]]

    def time(name: str) -> float:
        # All have the shortest length, if they have any.
        cell = result["rows"][name]["ms"].get(lengths[0])
        return 0.0 if cell is None else float(cell["median"])

    names = sorted(result["rows"], key=time, reverse=True)
    height = 0.8 / len(lengths)
    for index, (tokens, colour) in enumerate(zip(lengths, COLOURS, strict=False)):
        cells = [result["rows"][name]["ms"].get(tokens) for name in names]
        values = [0.0 if cell is None else cell["median"] for cell in cells]
        places = [i + 0.4 - height * (index + 0.5) for i in range(len(names))]
        bars = axes.barh(places, values, height, color=colour, label=f"{tokens} tokens")
        labels = ["-" if cell is None else short(cell["median"]) for cell in cells]
        axes.bar_label(bars, labels, padding=3, fontsize=7)
    axes.set_yticks(range(len(names)), [PEERS[name].title for name in names])
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    left, right = axes.get_xlim()
    axes.set_xlim(left, 2 * right)  # room for the longest bar's label
    axes.set(
        xlabel="ms a pair, text to score (median, log scale)",
        title=f"Latency, size {result['size']}",
    )
    axes.grid(alpha=0.25, axis="x")
    axes.set_axisbelow(True)
    picture.legend(loc="outside lower center", ncols=len(lengths), frameon=False)
    save(picture, path)


def ratios(result: Peers) -> Iterator[tuple[str, float]]:
    """What two runs must agree on."""
    for name, row in result["rows"].items():
        if name != result["anchor"]:
            for tokens, ratio in row["times_anchor"].items():
                yield f"{PEERS[name].title}, {tokens} tokens", ratio["fastest"]
