"""Pictures of raw results, as SVG: white background and dark ink, for dark pages too."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

from harmguard.core.files import write_file

COLOURS = ("#0b5fa5", "#b3470a", "#3a7d34", "#7a3e9d", "#a8862a")
MARKS = "os^Dv"
SMALL = {"fontsize": 7, "ha": "center"}


def plain(*scales: Any) -> None:
    """Ticks of a logarithmic scale at 1, 2 and 5, as plain numbers."""
    from matplotlib.ticker import LogLocator, NullLocator

    for scale in scales:
        scale.set_major_locator(LogLocator(subs=(1, 2, 5)))
        scale.set_major_formatter(lambda value, _: f"{value:g}")
        scale.set_minor_locator(NullLocator())


def short(value: float) -> str:
    """Three digits that count, never as a power of ten."""
    return f"{float(f'{value:.3g}'):g}"


def figure(size: tuple[float, float]) -> Any:
    """An empty picture, in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=size, layout="constrained")


def save(picture: Any, path: Path) -> None:
    """Write the whole picture or none; the same results give the same bytes.

    Text stays text, and what no eye sees is left out: both take more room than all else.
    """
    import matplotlib

    for axes in picture.get_axes():
        axes.tick_params(bottom=False, left=False)  # there is a grid
        axes.spines[["top", "right"]].set_visible(False)
    settings: Any = {"svg.hashsalt": path.stem, "svg.fonttype": "none"}
    drawn = io.StringIO()
    with matplotlib.rc_context(settings):
        picture.savefig(drawn, format="svg", facecolor="white", metadata={"Date": None})
    svg = re.sub(r"<[^>]*>", _shorter, drawn.getvalue())
    svg = svg.replace("<svg ", "<svg font-family='DejaVu Sans, sans-serif' ", 1)
    write_file(path, re.sub(r"\s*\n\s*", "\n", svg), replace=True)


def _shorter(tag: re.Match[str]) -> str:
    """A tag with a digit after the point, without names that nothing refers to."""
    text = re.sub(r"(\d{2}\.\d)\d+", r"\1", tag[0])
    text = re.sub(r' transform="rotate\(-0 [^"]*"| id="[a-z]+\d?[a-z]*_\d+"', "", text)
    text = re.sub(r"; stroke-line(cap: square|join: miter)", "", text)
    return re.sub(r"font-family: [^;]*; |(?<=[:;]) (?=[\w#'])", "", text)
