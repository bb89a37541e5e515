"""The peers' raw results -> a Markdown table. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.harness._tables import noise
from harmguard.bench.markdown import number, table
from harmguard.bench.run import MIN_SAMPLES

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
WEIGHTS = {
    "given": "weights of a trained checkpoint",
    "rebuilt": "weights of the shipped int8 guard, dequantised, so that the score errors leave out "
    "what rounding the weights cost when it was exported",
    "random": "random weights",
}


def peers(result: Mapping[str, Any]) -> str:
    """A row for each peer that ran, then the missing ones with their reasons, then versions."""
    lengths = [str(n) for n in result["lengths"]]
    head = [
        "runtime",
        *(f"ms at {n} tokens" for n in lengths),
        *("load, s", "anonymous MB", "PSS MB", "file MB", "installed MB", "score error"),
    ]
    rows = {name: result["rows"][name] for name in TITLES if name in result["rows"]}
    cells = [cell for row in rows.values() for cell in row["ms"].values()]
    copies = any(row["prepared_mb"] for row in rows.values())
    parts = [
        table(head, [_row(name, row, lengths) for name, row in rows.items()]),
        f"Medians (p90, from n = {MIN_SAMPLES} on) and how many times {TITLES[result['anchor']]} "
        "takes: of the fastest calls (range of the turns' medians), against its calls right before "
        "them. Rows were not timed at the same moments, so the quotient of two medians is another "
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


def _bundles(rows: Mapping[str, Any]) -> str:
    digests = {
        name: row["bundle"]["sha256"]["guard.json"] for name, row in rows.items() if row["bundle"]
    }
    return ", ".join(f"{name} `{digest[:16]}`" for name, digest in digests.items()) or "none"


def _row(name: str, row: Mapping[str, Any], lengths: list[str]) -> list[str]:
    errors = row["score_error"].values()
    return [
        TITLES[name],
        *(_latency(row["ms"].get(n), row["times_anchor"].get(n)) for n in lengths),
        f"{row['load_s']['best']:.2f}",
        number(row["memory_mb"]["anonymous"], 0),
        number(row["memory_mb"]["pss"], 0),
        _files(row),
        f"{row['installed_mb']:.0f}",
        _error(list(errors)),
    ]


def _files(row: Mapping[str, Any]) -> str:
    own = row["prepared_mb"]
    return f"{row['file_mb']:.0f}" + (f" + {own:.0f}" if own else "")


def _error(errors: Sequence[Mapping[str, float]]) -> str:
    if not errors:
        return "-"
    worst = {key: max(one[key] for one in errors) for key in ("max", "model_logit")}
    return f"{worst['max']:.4f} ({worst['model_logit']:.4f})"


def _latency(cell: Mapping[str, Any] | None, times: Mapping[str, Any] | None) -> str:
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
    reasons = [f"- {TITLES[name]}: `{reason}`" for name, reason in missing.items()]
    return "\n\n" + "\n".join(reasons)


def _cost(name: str, row: Mapping[str, Any]) -> str:
    cost = row["one_time"]
    made = [f"{what} {cost[key]['seconds']:.0f} s" for key, what in _ONCE if cost.get(key)]
    return f"{TITLES[name]} {', '.join(made)}"


_ONCE = (("install", "installed in"), ("export", "exported in"), ("convert", "converted in"))


def _versions(name: str, row: Mapping[str, Any]) -> str:
    return f"{TITLES[name]} " + ", ".join(f"{k} {v}" for k, v in row["versions"].items())


def _span(counts: list[int]) -> str:
    low, high = min(counts, default=0), max(counts, default=0)
    return str(low) if low == high else f"{low} to {high}"
