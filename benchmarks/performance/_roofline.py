"""What a guard's call could cost at least, and the picture of how far from it a call is."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from benchmarks.harness.picture import COLOURS, MARKS, SMALL, figure, plain, save, short
from benchmarks.performance._peak import Kernel
from harmguard.bench.results import Artefact

_SIDES = ((11, -7), (11, 7), (-11, 7), (-11, -7), (0, 9), (0, -9))


class Cell(TypedDict):
    """One batch of one length."""

    batch: int
    tokens: int
    ms: float
    fastest_ms: float
    n: int
    spread: float
    peak_anonymous_mb: float | None
    memory_error: NotRequired[str]


class Fit(TypedDict):
    """ms = call + token x (batch x tokens) + square x (batch x tokens^2); the largest error."""

    call_ms: float
    token_ms: float
    square_ms: float
    worst: float


class Guard(TypedDict):
    """What was measured of one bundle; by tokens: a profile, and the fastest call beside it."""

    bundle: Artefact
    prepared: bool
    bytes_read: dict[str, float]
    cells: list[Cell]
    fit: Fit
    profile: dict[str, dict[str, Kernel]]
    calls_ms: dict[str, float]
    peak_gops: dict[str, float]


class Scaling(TypedDict):
    """The raw result."""

    read_gbs: float
    guards: list[Guard]
    missing: dict[str, str]


def kind(guard: Guard) -> str:
    """What most multiply-adds are of: fp32 for the recipe fp32, int8 for all others."""
    return "fp32" if guard["bundle"]["recipe"] == "fp32" else "int8"


def floor_ms(guard: Guard, tokens: str) -> float:
    """Milliseconds that the multiply-adds alone would take at the peak beside the guard's calls."""
    return float(2000 * macs(guard, tokens) / (guard["peak_gops"][kind(guard)] * 1e9))


def call_ms(guard: Guard, tokens: str) -> float:
    """Milliseconds of the fastest call of one text."""
    cells = [c for c in guard["cells"] if (c["batch"], str(c["tokens"])) == (1, tokens)]
    beside = [ms for key, ms in guard["calls_ms"].items() if key == tokens]
    return float(min([c["fastest_ms"] for c in cells] + beside))


def spent_ms(profile: dict[str, Kernel]) -> float:
    """Milliseconds of all kernels of a profile."""
    return sum(float(cell["ms"]) for cell in profile.values())


def macs(guard: Guard, tokens: str) -> float:
    """Multiply-adds of a verdict."""
    return sum(float(cell["macs"]) for cell in guard["profile"][tokens].values())


def read_mb(guard: Guard, tokens: str) -> float:
    """MB of weights that a verdict reads, as the file has them."""
    found = guard["bytes_read"]
    return float(found["whole"] + int(tokens) * found["token"]) / 1e6


def draw(result: Scaling, path: Path) -> None:
    """The roofline on top; below, for each guard, latency and what the kernels spend."""
    guards = result["guards"]
    sheet = figure((10.4, 4.4 + 3.9 * len(guards)))
    top, below = sheet.subfigures(2, 1, height_ratios=[4.4, 3.9 * len(guards)])
    _roofline(top.subplots(), result)
    panels = below.subplots(len(guards), 2, squeeze=False)
    for guard, (left, right) in zip(guards, panels, strict=True):
        _latency(left, guard)
        _parts(right, guard)
    save(sheet, path)


def _roofline(axes: Any, result: Scaling) -> None:
    """Operations in a second against operations a byte of weights, one text at a time."""
    points = [[_point(guard, tokens) for tokens in guard["profile"]] for guard in result["guards"]]
    most = 2 * max(x for found in points for x, _ in found)
    least = 0.5 * min(x for found in points for x, _ in found)
    for kind, line in (("int8", "-"), ("fp32", "--")):
        peak = max(guard["peak_gops"][kind] for guard in result["guards"])
        knee = peak / result["read_gbs"]
        ends = sorted({least, min(max(knee, least), most), most})
        roof = [min(peak, x * result["read_gbs"]) for x in ends]
        label = f"{kind}: {short(peak)} GOPS, {short(result['read_gbs'])} GB/s"
        axes.plot(ends, roof, line, color="#444444", label=label)
    for index, (guard, found) in enumerate(zip(result["guards"], points, strict=True)):
        style = {"color": COLOURS[index % len(COLOURS)], "marker": MARKS[index % len(MARKS)]}
        axes.plot(*zip(*found, strict=True), ":", ms=5, label=title(guard), **style)
    axes.set(xscale="log", yscale="log", title="Roofline, one text; the numbers are its tokens")
    _label(axes, points, [tokens for guard in result["guards"] for tokens in guard["profile"]])
    axes.set(xlabel="operations a byte of weights read", ylabel="10^9 operations a second")
    plain(axes.xaxis, axes.yaxis)
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
        axes.annotate(text, value, _SIDES[best], **offset, **SMALL)


def _point(guard: Guard, tokens: str) -> tuple[float, float]:
    """Operations a byte, and 10^9 operations a second of the fastest call."""
    operations = 2 * macs(guard, tokens)
    spent = call_ms(guard, tokens)
    return operations / (1e6 * read_mb(guard, tokens)), operations / (1e6 * spent)


def _latency(axes: Any, guard: Guard) -> None:
    for index, batch in enumerate(sorted({cell["batch"] for cell in guard["cells"]})):
        cells = [cell for cell in guard["cells"] if cell["batch"] == batch]
        style = {"color": COLOURS[index % 4], "marker": MARKS[index % 4], "ms": 4}
        tokens, ms = [c["tokens"] for c in cells], [c["ms"] / batch for c in cells]
        axes.plot(tokens, ms, label=f"batch {batch}", **style)
    axes.set(xlabel="tokens", ylabel="ms a text", title=title(guard), xscale="log", yscale="log")
    axes.legend(frameon=False)
    axes.grid(alpha=0.25)
    plain(axes.xaxis, axes.yaxis)
    lengths = sorted({cell["tokens"] for cell in guard["cells"]})
    axes.set_xticks(lengths, [str(n) for n in lengths])


def _parts(axes: Any, guard: Guard) -> None:
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
    shown = sorted(share, key=lambda name: -share[name])[: len(COLOURS)]
    under = [0.0] * len(lengths)
    for name, colour in zip([*shown, "others"], [*COLOURS, "#d0d0d0"], strict=False):
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
        text = f"{short(times * floor)} ms"
        axes.annotate(text, (i + 0.2, times), (0, 3), textcoords="offset points", **SMALL)
        axes.annotate(
            f"{short(floor)} ms", (i - 0.2, 1), (0, 3), textcoords="offset points", **SMALL
        )
    axes.set_xticks(places, lengths)
    axes.set(xlabel="tokens", ylabel="times the floor", title="One text, by its kernels")
    axes.set_ylim(0, 1.15 * max(under))
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
    axes.grid(alpha=0.25, axis="y")
    axes.set_axisbelow(True)


def title(guard: Guard) -> str:
    """Name, version and recipe of its bundle."""
    about = guard["bundle"]
    return f"{about['name']} {about['version']}, {about['recipe']}"
