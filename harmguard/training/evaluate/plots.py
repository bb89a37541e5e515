"""Pictures of an evaluation: precision and recall, reliability, and where the scores lie.

White background and dark ink, so that they read the same on a dark page; the two labels differ by
colour and by line or hatching.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import average_precision_score, precision_recall_curve

from harmguard.training.evaluate import metrics
from harmguard.training.evaluate.scored import Scored

PICTURES = ("precision_recall.png", "reliability.png", "histogram.png")
_NAMES = {"prompt": "prompts", "exchange": "exchanges"}
_COLOURS = {"prompt": "#0b5fa5", "exchange": "#b3470a"}
_LINES = {"prompt": "-", "exchange": "--"}
_MARKS = {"prompt": "o", "exchange": "s"}
_DPI = 144


def draw(folder: Path, rows: Sequence[Scored], report: Mapping[str, Any]) -> list[Path]:
    """Draw what the rows allow into `folder` and say which files were made.

    A curve and a reliability diagram need a kind of input with both labels; the histogram is
    always there.
    """
    kinds = {
        kind: metrics.as_arrays(
            [r.label for r in rows if r.kind == kind], [r.score for r in rows if r.kind == kind]
        )
        for kind in _NAMES
        if any(r.kind == kind for r in rows)
    }
    both = {kind: arrays for kind, arrays in kinds.items() if 0 < arrays[0].sum() < arrays[0].size}
    thresholds = report["thresholds"]
    made = []
    if both:
        made.append(_save(_precision_recall(both, thresholds), folder / PICTURES[0]))
        made.append(_save(_reliability(both), folder / PICTURES[1]))
    made.append(_save(_histogram(kinds, thresholds), folder / PICTURES[2]))
    return made


def _save(figure: Figure, path: Path) -> Path:
    figure.savefig(path, dpi=_DPI, facecolor="white", metadata={"Software": None})
    return path


def _square(title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(5.6, 5.2), layout="constrained")
    axes = figure.subplots()
    axes.set(xlim=(0, 1), ylim=(0, 1.02), title=title)
    axes.grid(alpha=0.25)
    return figure, axes


def _precision_recall(kinds: Mapping[str, Any], thresholds: Mapping[str, float]) -> Figure:
    figure, axes = _square("Precision and recall")
    axes.set(xlabel="recall (harmful rows flagged)", ylabel="precision (flagged rows harmful)")
    for kind, (y, p) in kinds.items():
        colour = _COLOURS[kind]
        precision, recall, _ = precision_recall_curve(y, p, drop_intermediate=True)
        area = average_precision_score(y, p)
        axes.plot(
            recall,
            precision,
            _LINES[kind],
            color=colour,
            label=f"{_NAMES[kind]}: AUPRC {area:.3f}, n = {y.size}",
        )
        at = metrics.point_metrics(y, p, thresholds[kind])
        axes.plot(
            at["recall"],
            at["precision"],
            _MARKS[kind],
            color=colour,
            ms=8,
            label=f"{_NAMES[kind]} at threshold {thresholds[kind]:.4g}",
        )
        axes.axhline(
            y.mean(),
            color=colour,
            ls=":",
            lw=1,
            label=f"{_NAMES[kind]}: share harmful {y.mean():.2f}",
        )
    _legend_below(figure, axes)
    return figure


def _reliability(kinds: Mapping[str, Any]) -> Figure:
    figure, axes = _square(f"Reliability, {metrics.ECE_BINS} bins, 95 % Wilson intervals")
    axes.set(xlabel="mean score in the bin", ylabel="share of harmful rows in the bin")
    axes.plot([0, 1], [0, 1], color="0.35", ls=":", lw=1, label="perfect calibration")
    for kind, (y, p) in kinds.items():
        bins = metrics.reliability(y, p)
        share = np.array([b["value"] for b in bins])
        low = share - [b["low"] for b in bins]
        high = [b["high"] for b in bins] - share
        axes.errorbar(
            [b["score"] for b in bins],
            share,
            yerr=np.maximum([low, high], 0),
            fmt=_MARKS[kind] + _LINES[kind],
            color=_COLOURS[kind],
            ms=5,
            lw=1.2,
            capsize=2,
            label=f"{_NAMES[kind]}: ECE {metrics.calibration_error(y, p):.3f}, n = {y.size}",
        )
    _legend_below(figure, axes)
    return figure


def _histogram(kinds: Mapping[str, Any], thresholds: Mapping[str, float]) -> Figure:
    figure = Figure(figsize=(5.0 * len(kinds), 4.4), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(kinds), sharey=True))
    edges = np.linspace(0, 1, 26)
    for axes, (kind, (y, p)) in zip(panels, kinds.items(), strict=True):
        axes.set(xlim=(0, 1), xlabel="score", title=f"Scores of {_NAMES[kind]}")
        axes.grid(alpha=0.25)
        for label, name, colour, hatch in (
            (0, "safe", "#0b5fa5", ""),
            (1, "harmful", "#b3470a", "///"),
        ):
            values = p[y == label]
            if values.size:
                axes.hist(
                    values,
                    bins=edges,
                    weights=np.full(values.size, 1 / values.size),
                    histtype="stepfilled",
                    facecolor=(colour, 0.3),
                    edgecolor=colour,
                    hatch=hatch,
                    label=f"{name}, n = {values.size}",
                )
        axes.axvline(
            thresholds[kind],
            color="black",
            ls="--",
            lw=1.2,
            label=f"threshold {thresholds[kind]:.4g}",
        )
        axes.legend(
            loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=3, frameon=False, fontsize=8
        )
    panels[0].set_ylabel("share of the label's rows")
    return figure


def _legend_below(figure: Figure, axes: Axes) -> None:
    figure.legend(
        *axes.get_legend_handles_labels(),
        loc="outside lower center",
        ncols=2,
        frameon=False,
        fontsize=8,
    )
