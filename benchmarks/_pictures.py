"""Pictures of raw results, as SVG: white background and dark ink, for dark pages too."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks._peers_table import TITLES
from benchmarks._scaling_table import floor_ms, peak_of

_COLOURS = ("#0b5fa5", "#b3470a", "#3a7d34", "#7a3e9d")
_MARKS = "os^D"


def peers(result: Mapping[str, Any], path: Path) -> None:
    """A bar for each runtime and length, the fastest at the shortest length on top."""
    figure = _figure((8.4, 0.55 * len(result["rows"]) + 1.6))
    axes = figure.subplots()
    lengths = [str(n) for n in result["lengths"]]

    def time(name: str) -> float:
        # All have the shortest length, if they have any.
        cell = result["rows"][name]["ms"].get(lengths[0])
        return 0.0 if cell is None else float(cell["median"])

    names = sorted(result["rows"], key=time, reverse=True)
    height = 0.8 / len(lengths)
    for index, (tokens, colour) in enumerate(zip(lengths, _COLOURS, strict=False)):
        cells = [result["rows"][name]["ms"].get(tokens) for name in names]
        values = [0.0 if cell is None else cell["median"] for cell in cells]
        places = [i + 0.4 - height * (index + 0.5) for i in range(len(names))]
        bars = axes.barh(places, values, height, color=colour, label=f"{tokens} tokens")
        labels = ["-" if cell is None else _short(cell["median"]) for cell in cells]
        axes.bar_label(bars, labels, padding=3, fontsize=7)
    axes.set_yticks(range(len(names)), [TITLES[name] for name in names])
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
    figure.legend(loc="outside lower center", ncols=len(lengths), frameon=False)
    _save(figure, path)


def scaling(result: Mapping[str, Any], path: Path) -> None:
    """Left: latency by tokens for each batch. Right: kernels against the computed floor."""
    guards = result["guards"]
    figure = _figure((10.4, 3.9 * len(guards)))
    panels = figure.subplots(len(guards), 2, squeeze=False)
    for guard, (left, right) in zip(guards, panels, strict=True):
        about = guard["bundle"]
        title = f"{about['name']} {about['version']}, {about['recipe']}"
        for index, batch in enumerate(sorted({cell["batch"] for cell in guard["cells"]})):
            cells = [cell for cell in guard["cells"] if cell["batch"] == batch]
            style = {"color": _COLOURS[index % 4], "marker": _MARKS[index % 4], "ms": 4}
            tokens, ms = [c["tokens"] for c in cells], [c["ms"] / batch for c in cells]
            left.plot(tokens, ms, label=f"batch {batch}", **style)
        left.set(xlabel="tokens", ylabel="ms a text", title=title, xscale="log", yscale="log")
        left.legend(frameon=False)
        lengths = list(guard["profile"])
        floors = [
            floor_ms(profile, peak_of(guard, result["peak_gops"]))
            for profile in guard["profile"].values()
        ]
        spent = [sum(c["ms"] for c in profile.values()) for profile in guard["profile"].values()]
        places = range(len(lengths))
        for shift, values, label, colour in (
            (-0.2, floors, "multiply-adds at the measured peak", _COLOURS[2]),
            (0.2, spent, "all kernels, measured", _COLOURS[0]),
        ):
            bars = right.bar([i + shift for i in places], values, 0.38, color=colour, label=label)
            right.bar_label(bars, [_short(value) for value in values], fontsize=7)
        right.set_xticks(places, lengths)
        right.set(xlabel="tokens", ylabel="ms", title="Distance from the limit, batch 1")
        right.set_ylim(0, 1.35 * max(*floors, *spent))
        right.legend(frameon=False, loc="upper left")
        for axes in (left, right):
            axes.grid(alpha=0.25)
            axes.set_axisbelow(True)
        for axis in (left.xaxis, left.yaxis):
            axis.set_major_formatter(lambda value, _: f"{value:g}")
    _save(figure, path)


def _short(value: float) -> str:
    """Three digits that count, never as a power of ten."""
    return f"{float(f'{value:.3g}'):g}"


def _figure(size: tuple[float, float]) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=size, layout="constrained")


def _save(figure: Any, path: Path) -> None:
    """Write aside, then rename; the same results give the same bytes."""
    import matplotlib

    aside = path.with_name(f".{path.stem}.aside.svg")
    with matplotlib.rc_context({"svg.hashsalt": path.stem}):
        figure.savefig(aside, facecolor="white", metadata={"Date": None})
    os.replace(aside, path)
