"""benchmarks._pictures and the tables of peers and scaling, from made-up results."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks import _peers_table, _pictures, _scaling_table


def cell(ms: float) -> dict[str, Any]:
    return {"n": 30, "median": ms, "p90": 1.2 * ms, "p99": None, "spread": 0.1}


def peers() -> dict[str, Any]:
    rows = {}
    for factor, name in enumerate(_peers_table.TITLES, 1):
        ms = {n: cell(factor * int(n) / 20) for n in ("32", "128", "512")}
        if name == "litert":
            del ms["512"]
        rows[name] = {
            "ms": ms,
            "times_anchor": {n: {"fastest": float(factor)} for n in ms},
            "load_s": {"best": 0.5, "n": 3},
            "versions": {"package": "1.0"},
            "one_time": {key: {"seconds": 60.0} for key in ("install", "convert")},
            "memory_mb": {"anonymous": None if name == "torch" else 50.0},
            "file_mb": 26.0,
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


def scaling() -> dict[str, Any]:
    cells = [
        {"batch": b, "tokens": n, "ms": 0.1 * b * n, "peak_anonymous_mb": 50.0}
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
    }
    fp32 = {**guard, "bundle": {**about, "recipe": "fp32"}}
    head = {"read_gbs": 20.0, "peak_gops": {"fp32": 200.0, "int8": 700.0}}
    return {**head, "guards": [guard, fp32]}


@pytest.mark.parametrize("name", ["peers", "scaling"])
def test_pictures_are_the_same_for_the_same_results(name: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    draw, result = getattr(_pictures, name), globals()[name]()
    path = tmp_path / f"{name}.svg"
    draw(result, path)
    first = path.read_bytes()
    assert ElementTree.fromstring(first).tag.endswith("svg")
    draw(result, path)
    assert path.read_bytes() == first
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_the_table_of_peers_names_what_is_missing() -> None:
    text = _peers_table.peers(peers())
    assert "- ExecuTorch + XNNPACK fp32: `executorch: pip could not install it: none`" in text
    assert "unknown" in text
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1
    assert "Missing: none." in _peers_table.peers({**peers(), "missing": {}})


def test_the_table_of_scaling_has_both_peaks() -> None:
    text = _scaling_table.scaling(scaling())
    assert "200 GOPS in fp32, 700 in int8" in text
    assert "MatMul 88%, Add 12%" in text
    assert "- |" in text
