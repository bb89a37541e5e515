"""The result of a measurement as a picture (extra: bench).

White background and dark ink, so that it reads the same on a dark page; lines differ by colour,
dash and marker.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harmguard.bench.markdown import STEP_NAMES
from harmguard.bench.results import (
    STATES,
    STEPS,
    Failed,
    Latency,
    Measurement,
    Memory,
    MemoryKind,
    Startup,
    Timing,
)
from harmguard.core.files import new_file, refuse_existing
from harmguard.errors import BenchError
from harmguard.extras import require

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SUFFIXES = (".svg", ".png")
_STYLES = (("#0b5fa5", "-", "o"), ("#b3470a", "--", "s"), ("#3a7d34", ":", "^"))
_STATES = ("import", "load", "first\nscore", "longest\nscore", "batch")


def check(path: Path) -> None:
    """Raise before the measurement what `draw` would raise after it.

    BenchError for another suffix than .svg or .png, OutputExistsError for a file that is there,
    MissingExtraError without matplotlib.
    """
    if path.suffix not in SUFFIXES:
        raise BenchError(
            f"picture {path.name!a}: unknown suffix; expected one of {', '.join(SUFFIXES)}"
        )
    refuse_existing(path)
    require("the picture", "matplotlib", extra="bench")


def draw(result: Measurement, path: Path) -> None:
    """Draw latency, memory and start-up side by side to `path`; a failed part stays empty."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.hashsalt": "harmguard", "font.size": 9}):
        figure = Figure(figsize=(11, 4.2), layout="constrained")
        panels = figure.subplots(1, 3, width_ratios=(1.3, 1.1, 0.8))
        parts: tuple[tuple[Any, Any], ...] = (
            (_latency, result["latency_ms"]),
            (_memory, result["memory_mb"]),
            (_startup, result["startup_s"]),
        )
        for axes, (drawer, part) in zip(panels, parts, strict=True):
            axes.grid(alpha=0.25, axis="y")
            axes.set_axisbelow(True)
            if "error" in part:
                axes.text(0.5, 0.5, "not measured", ha="center", transform=axes.transAxes)
            else:
                drawer(axes, part)
        about = result["bundle"]
        machine = result["machine"]
        figure.suptitle(
            f"{about['name']} {about['version']} ({about['recipe']}) on "
            f"{machine['cpu'] or 'an unknown CPU'}"
        )
        metadata = {"Date": None} if path.suffix == ".svg" else {"Software": None}
        with new_file(path) as file:
            kind = path.suffix[1:]
            figure.savefig(file, format=kind, dpi=144, facecolor="white", metadata=metadata)


def _latency(axes: Axes, part: Latency) -> None:
    small = part["small_device"]
    lines: dict[str, Mapping[str, Timing | Failed]] = {
        f"{t} thread{'s' * (t != '1')}": by for t, by in part["threads"].items()
    }
    if "error" not in small and small["limited"]:
        lines[f"one core, {small['limit_mb']:.0f} MB"] = small["tokens"]
    ticks: set[int] = set()
    for (name, by), (colour, dash, mark) in zip(lines.items(), _STYLES, strict=False):
        cells = {int(n): cell for n, cell in by.items() if "error" not in cell}
        ticks |= cells.keys()
        middle = [cell["median"] for cell in cells.values()]
        axes.plot(list(cells), middle, dash, marker=mark, ms=4, color=colour, label=name)
        high = [cell["p90"] for cell in cells.values()]
        axes.fill_between(list(cells), middle, high, color=colour, alpha=0.15, lw=0)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(sorted(ticks), [str(tick) for tick in sorted(ticks)])
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set(xlabel="tokens", ylabel="ms a pair", title="Latency: median, shaded to p90")
    axes.legend(frameon=False)


def _memory(axes: Axes, part: Memory) -> None:
    kinds: tuple[tuple[MemoryKind, str, float], ...] = (
        ("anonymous", "anonymous", -0.2),
        ("peak_anonymous", "its peak", 0.2),
    )
    for (kind, label, shift), (colour, _, _) in zip(kinds, _STYLES, strict=False):
        values = [part[state][kind] for state in STATES]
        places = [i + shift for i in range(len(STATES))]
        bars = axes.bar(places, [value or 0.0 for value in values], 0.38, color=colour, label=label)
        # A bar of no height would say that there is none.
        names = ["?" if value is None else f"{value:.0f}" for value in values]
        axes.bar_label(bars, names, fontsize=7)
    axes.set_xticks(range(len(STATES)), _STATES)
    unknown = all(part[state]["anonymous"] is None for state in STATES)
    axes.set(ylabel="MB", title="Memory: unknown" if unknown else "Memory after ...")
    axes.legend(frameon=False, loc="upper left")


def _startup(axes: Axes, part: Startup) -> None:
    colours = ("#5b6770", *(colour for colour, _, _ in _STYLES))
    bottom = 0.0
    for step, colour in zip(STEPS[:-1], colours, strict=True):
        taken = part[step]["median"]
        axes.bar([0], [taken], 0.5, bottom=bottom, color=colour, label=STEP_NAMES[step])
        bottom += taken
    axes.set_xticks([])
    axes.set(xlim=(-0.4, 0.4), ylabel="s", title=f"First score after {bottom:.2f} s")
    axes.set_ylim(0, bottom * 1.65)
    axes.legend(frameon=False, loc="upper right", reverse=True)
