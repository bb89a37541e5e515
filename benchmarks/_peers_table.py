"""The peers' raw results -> a Markdown table. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harmguard.bench.show import number, table

TITLES = {
    "harmguard int8": "harmguard int8",
    "harmguard int4": "harmguard int4",
    "harmguard fp32": "harmguard fp32",
    "torch": "transformers + torch fp32",
    "torch bf16": "transformers + torch bf16",
    "optimum fp32": "optimum + onnxruntime fp32",
    "optimum int8": "optimum + onnxruntime dynamic int8",
    "openvino fp32": "OpenVINO fp32",
    "openvino int8": "OpenVINO int8 weights",
    "executorch": "ExecuTorch + XNNPACK fp32",
    "litert": "LiteRT fp32",
    "llama-guard": "Llama-Guard-3-1B shape, llama.cpp Q4_0",
}


def peers(result: Mapping[str, Any]) -> str:
    """A row for each peer that ran, then the missing ones with their reasons."""
    lengths = [str(n) for n in result["lengths"]]
    head = [
        "runtime",
        *(f"ms at {n} tokens" for n in lengths),
        *("load, s", "anonymous MB", "file MB", "installed MB", "score error"),
    ]
    rows = [_row(name, row, lengths) for name, row in result["rows"].items()]
    counts = sorted({c["n"] for row in result["rows"].values() for c in row["ms"].values()})
    weights = "random weights" if result["random_weights"] else "trained weights"
    parts = [
        table(head, rows),
        f"Medians (p90), n = {', '.join(map(str, counts))}; {weights}. Load: from a running "
        "interpreter to a loaded model, imports included. Memory after a score of 128 tokens. "
        "Installed: all packages of the peer's environment, its converter included. Score error: "
        "the largest distance from torch fp32.",
    ]
    if result["missing"]:
        reasons = [f"- {TITLES[name]}: {reason}" for name, reason in result["missing"].items()]
        parts.append("Missing:\n\n" + "\n".join(reasons))
    else:
        parts.append("Missing: none.")
    return "\n\n".join(parts)


def _row(name: str, row: Mapping[str, Any], lengths: list[str]) -> list[str]:
    errors = [found["max"] for found in row["score_error"].values()]
    cells = [row["ms"].get(n) for n in lengths]
    return [
        TITLES[name],
        *("-" if c is None else f"{c['median']:.1f} ({c['p90']:.1f})" for c in cells),
        f"{row['load_s']:.2f}",
        number(row["memory_mb"]["anonymous"], 0),
        f"{row['file_mb']:.0f}",
        f"{row['installed_mb']:.0f}",
        f"{max(errors):.4f}" if errors else "-",
    ]
