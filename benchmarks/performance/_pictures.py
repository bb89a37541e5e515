"""Pictures of raw results, as SVG: white background and dark ink, for dark pages too."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.performance._peers_table import TITLES
from benchmarks.performance._scaling_table import call_ms, floor_ms, macs, read_mb, spent_ms
from harmguard.core.files import new_file

_COLOURS = ("#0b5fa5", "#b3470a", "#3a7d34", "#7a3e9d", "#a8862a")
_MARKS = "os^Dv"
_SMALL = {"fontsize": 7, "ha": "center"}
_SIDES = ((11, -7), (11, 7), (-11, 7), (-11, -7), (0, 9), (0, -9))


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
    """The roofline on top; below, for each guard, latency and what the kernels spend."""
    guards = result["guards"]
    figure = _figure((10.4, 4.4 + 3.9 * len(guards)))
    top, below = figure.subfigures(2, 1, height_ratios=[4.4, 3.9 * len(guards)])
    _roofline(top.subplots(), result)
    panels = below.subplots(len(guards), 2, squeeze=False)
    for guard, (left, right) in zip(guards, panels, strict=True):
        _latency(left, guard)
        _parts(right, guard)
    _save(figure, path)


def _roofline(axes: Any, result: Mapping[str, Any]) -> None:
    """Operations in a second against operations a byte of weights, one text at a time."""
    points = [[_point(guard, tokens) for tokens in guard["profile"]] for guard in result["guards"]]
    most = 2 * max(x for found in points for x, _ in found)
    least = 0.5 * min(x for found in points for x, _ in found)
    for kind, line in (("int8", "-"), ("fp32", "--")):
        peak = max(guard["peak_gops"][kind] for guard in result["guards"])
        knee = peak / result["read_gbs"]
        ends = sorted({least, min(max(knee, least), most), most})
        roof = [min(peak, x * result["read_gbs"]) for x in ends]
        label = f"{kind}: {_short(peak)} GOPS, {_short(result['read_gbs'])} GB/s"
        axes.plot(ends, roof, line, color="#444444", label=label)
    for index, (guard, found) in enumerate(zip(result["guards"], points, strict=True)):
        style = {"color": _COLOURS[index % len(_COLOURS)], "marker": _MARKS[index % len(_MARKS)]}
        axes.plot(*zip(*found, strict=True), ":", ms=5, label=_title(guard), **style)
    axes.set(xscale="log", yscale="log", title="Roofline, one text; the numbers are its tokens")
    _label(axes, points, [tokens for guard in result["guards"] for tokens in guard["profile"]])
    axes.set(xlabel="operations a byte of weights read", ylabel="10^9 operations a second")
    _plain(axes.xaxis, axes.yaxis)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))


def _label(
    axes: Any, series: Sequence[Sequence[tuple[float, float]]], texts: Sequence[str]
) -> None:
    """Each text beside its point, on the side that is farthest from lines and earlier texts."""
    axes.autoscale_view()  # matplotlib leaves the limits as they were until it draws
    dots = axes.figure.dpi / 72
    points = [[(x / dots, y / dots) for x, y in axes.transData.transform(line)] for line in series]
    taken = [
        (a[0] + (b[0] - a[0]) * step / 40, a[1] + (b[1] - a[1]) * step / 40)
        for line in points
        for a, b in itertools.pairwise(line)
        for step in range(41)
    ]
    values, places = itertools.chain(*series), itertools.chain(*points)
    for value, (x, y), text in zip(values, places, texts, strict=True):
        sides = [(x + right, y + up) for right, up in _SIDES]
        room = [min(math.dist(side, one) for one in taken) for side in sides]
        best = room.index(max(room))
        taken.append(sides[best])
        offset = {"textcoords": "offset points", "va": "center"}
        axes.annotate(text, value, _SIDES[best], **offset, **_SMALL)


def _point(guard: Mapping[str, Any], tokens: str) -> tuple[float, float]:
    """Operations a byte, and 10^9 operations a second of the fastest call."""
    operations = 2 * macs(guard, tokens)
    spent = call_ms(guard, tokens)
    return operations / (1e6 * read_mb(guard, tokens)), operations / (1e6 * spent)


def _latency(axes: Any, guard: Mapping[str, Any]) -> None:
    for index, batch in enumerate(sorted({cell["batch"] for cell in guard["cells"]})):
        cells = [cell for cell in guard["cells"] if cell["batch"] == batch]
        style = {"color": _COLOURS[index % 4], "marker": _MARKS[index % 4], "ms": 4}
        tokens, ms = [c["tokens"] for c in cells], [c["ms"] / batch for c in cells]
        axes.plot(tokens, ms, label=f"batch {batch}", **style)
    axes.set(xlabel="tokens", ylabel="ms a text", title=_title(guard), xscale="log", yscale="log")
    axes.legend(frameon=False)
    axes.grid(alpha=0.25)
    _plain(axes.xaxis, axes.yaxis)
    lengths = sorted({cell["tokens"] for cell in guard["cells"]})
    axes.set_xticks(lengths, [str(n) for n in lengths])


def _parts(axes: Any, guard: Mapping[str, Any]) -> None:
    """Beside the floor, the call, split as its kernels' time is: largest types, then the rest."""
    profiles = guard["profile"]
    lengths = list(profiles)
    floors = [floor_ms(guard, tokens) for tokens in lengths]
    calls = [call_ms(guard, tokens) for tokens in lengths]
    places = range(len(lengths))
    # In multiples of the floor, so that short texts are seen beside long ones.
    axes.bar([i - 0.2 for i in places], [1] * len(lengths), 0.38, color="#999999", label="floor")
    share: dict[str, float] = {}
    for tokens in lengths:
        whole = spent_ms(profiles[tokens])
        for name, cell in profiles[tokens].items():
            share[name] = share.get(name, 0.0) + cell["ms"] / whole
    shown = sorted(share, key=lambda name: -share[name])[: len(_COLOURS)]
    under = [0.0] * len(lengths)
    for name, colour in zip([*shown, "others"], [*_COLOURS, "#d0d0d0"], strict=False):
        ms = [
            sum(
                c["ms"] for n, c in p.items() if (n not in shown if name == "others" else n == name)
            )
            for p in profiles.values()
        ]
        wholes = [spent_ms(profile) for profile in profiles.values()]
        values = [
            call * m / whole / floor
            for call, m, whole, floor in zip(calls, ms, wholes, floors, strict=True)
        ]
        axes.bar([i + 0.2 for i in places], values, 0.38, under, color=colour, label=name)
        under = [u + v for u, v in zip(under, values, strict=True)]
    for i, (times, floor) in enumerate(zip(under, floors, strict=True)):
        text = f"{_short(times * floor)} ms"
        axes.annotate(text, (i + 0.2, times), (0, 3), textcoords="offset points", **_SMALL)
        axes.annotate(
            f"{_short(floor)} ms", (i - 0.2, 1), (0, 3), textcoords="offset points", **_SMALL
        )
    axes.set_xticks(places, lengths)
    axes.set(xlabel="tokens", ylabel="times the floor", title="One text, by its kernels")
    axes.set_ylim(0, 1.15 * max(under))
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
    axes.grid(alpha=0.25, axis="y")
    axes.set_axisbelow(True)


def _plain(*scales: Any) -> None:
    """Ticks of a logarithmic scale at 1, 2 and 5, as plain numbers."""
    from matplotlib.ticker import LogLocator, NullFormatter

    for scale in scales:
        scale.set_major_locator(LogLocator(subs=(1, 2, 5)))
        scale.set_major_formatter(lambda value, _: f"{value:g}")
        scale.set_minor_formatter(NullFormatter())


def _title(guard: Mapping[str, Any]) -> str:
    about = guard["bundle"]
    return f"{about['name']} {about['version']}, {about['recipe']}"


def _short(value: float) -> str:
    """Three digits that count, never as a power of ten."""
    return f"{float(f'{value:.3g}'):g}"


def _figure(size: tuple[float, float]) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=size, layout="constrained")


def _save(figure: Any, path: Path) -> None:
    """Write the whole picture or none; the same results give the same bytes."""
    import matplotlib

    with new_file(path, replace=True) as file, matplotlib.rc_context({"svg.hashsalt": path.stem}):
        figure.savefig(file, format="svg", facecolor="white", metadata={"Date": None})
