"""The pictures and the tables of peers and scaling, from made-up results."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks.harness.cells import noise
from benchmarks.performance import _peers_table, _roofline
from benchmarks.performance import scaling as scaling_
from benchmarks.runtimes.models import PEERS


def cell(ms: float) -> dict[str, Any]:
    return {"n": 30, "median": ms, "p90": 1.2 * ms, "p99": None, "spread": 0.1}


def peers() -> Any:
    rows = {}
    for factor, name in enumerate(PEERS, 1):
        ms = {n: cell(factor * int(n) / 20) for n in ("32", "128", "512")}
        if name == "litert":
            del ms["512"]
        rows[name] = {
            "ms": ms,
            "times_anchor": {
                n: {"fastest": float(factor), "low": factor - 0.5, "high": 2.0 * factor} for n in ms
            },
            "load_s": {"best": 0.5, "n": 3},
            "versions": {"package": "1.0"},
            "one_time": {"install": {"seconds": 60.0}, "export": None, "convert": {"seconds": 5.0}},
            "memory_mb": {"anonymous": None if name == "torch" else 50.0, "pss": 70.0},
            "file_mb": 26.0,
            "prepared_mb": 37.4 if "harmguard" in name else None,
            "bundle": {"sha256": {"guard.json": 16 * "cd"}} if "harmguard" in name else None,
            "installed_mb": 120.0,
            "score_error": {}
            if name == "llama-guard"
            else {"32": {"max": 0.01, "model_logit": 0.2}},
        }
    del rows["executorch"]
    missing = {"executorch": "executorch: pip could not install it: none"}
    head = {"size": "mini", "lengths": [32, 128, 512], "weights": "random"}
    head["anchor"] = "harmguard int8"
    return {**head, "rows": rows, "missing": missing}


def scaling() -> Any:
    rest = {"peak_anonymous_mb": 50.0, "fastest_ms": 99.0}
    cells = [
        {"batch": b, "tokens": n, "ms": 0.1 * b * n, "n": 7 if b < 16 else 1, **rest}
        for b in (1, 4, 16)
        for n in (8, 64, 512)
        if b * n < 5000
    ]
    profile = {"MatMul": {"macs": 1e9, "ms": 30.0}, "Add": {"macs": 0, "ms": 4.0}}
    about = {"name": "mini", "version": "1", "sha256": {"guard.json": 16 * "ab"}}
    guard = {
        "bundle": {**about, "recipe": "int8"},
        "prepared": False,
        "bytes_read": {"whole": 13e6, "token": 2000.0},
        "cells": cells,
        "fit": {"call_ms": 0.2, "token_ms": 0.1, "square_ms": 1e-5, "worst": 0.08},
        "profile": {"32": profile, "128": profile},
        "calls_ms": {"32": 36.0, "128": 40.0},
        "peak_gops": {"fp32": 200.0, "int8": 700.0},
    }
    fp32 = {**guard, "bundle": {**about, "recipe": "fp32"}}
    fp32["peak_gops"] = {"fp32": 210.0, "int8": 650.0}
    return {"read_gbs": 20.0, "missing": {"other": "it ended"}, "guards": [guard, fp32]}


DRAWN: dict[str, Any] = {
    "peers": (_peers_table.draw, peers()),
    "scaling": (_roofline.draw, scaling()),
}


@pytest.mark.parametrize("name", DRAWN)
def test_pictures_are_the_same_for_the_same_results(name: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    draw, result = DRAWN[name]
    path = tmp_path / f"{name}.svg"
    draw(result, path)
    first = path.read_bytes()
    assert ElementTree.fromstring(first).tag.endswith("svg")
    draw(result, path)
    assert path.read_bytes() == first
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_the_table_of_peers_names_what_is_missing() -> None:
    text = _peers_table.tables(peers())
    assert "- ExecuTorch + XNNPACK fp32: `executorch: pip could not install it: none`" in text
    assert "unknown" in text
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1
    assert "x2.00 (1.50 to 4.00)" in text
    assert re.search(r"\| harmguard int4 .*\| +70 \| +26 \+ 37 \|", text)
    assert "harmguard int8 installed in 60 s, converted in 5 s" in text
    assert "Noise: 0 of 32 spreads are above 25%, the largest is 10%." in text
    whole: Any = {**peers(), "missing": {}}
    assert "Missing: none." in _peers_table.tables(whole)


def test_the_table_of_scaling_has_both_peaks() -> None:
    text = scaling_.tables(scaling())
    assert "200 to 210 GOPS in fp32, 650 to 700 GOPS in int8" in text
    assert "Missing: other: `it ended`" in text
    # 2 x 10^9 operations at 700 GOPS are 2.86 ms, of a call of 36.
    assert re.search(r"\| 32 +\| +1000 \| +2\.86 \|.*\| +36\.00 \| +12\.6 \|", text)
    assert " 12.8* (50)" in text
    assert "*: a single call" in text
    assert "MatMul 88%, Add 12%" in text
    assert "- |" in text


def test_the_roofline_s_numbers_stand_apart() -> None:
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    axes = Figure(figsize=(8, 3), dpi=72).subplots()
    axes.set(xscale="log", yscale="log")
    series = [[(10.0, 100.0), (50.0, 150.0), (250.0, 180.0)], [(14.0, 140.0), (52.0, 152.0)]]
    for line in series:
        axes.plot(*zip(*line, strict=True))
    _roofline._label(axes, series, ["32", "128", "512", "32", "128"])
    axes.figure.canvas.draw()
    boxes = [text.get_window_extent() for text in axes.texts]
    assert len(boxes) == 5
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_noise_names_the_spreads_above_the_bound() -> None:
    spreads: list[Any] = [{"spread": 0.1}, {"spread": 0.3}, {"spread": 0.6}]
    assert noise(spreads).startswith(
        "Noise: 2 of 3 spreads are above 25%, the largest is 60%: others had the machine's cores"
    )
