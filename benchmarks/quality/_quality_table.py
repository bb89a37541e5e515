"""The raw results of benchmarks.quality -> Markdown tables. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harmguard.bench.markdown import table

TITLES = {
    "auprc": "AUPRC",
    "f1": "F1",
    "precision": "precision",
    "recall": "recall",
    "fpr": "safe rows flagged",
}


def quality(result: Mapping[str, Any]) -> str:
    """One table for the macro figures, one for each metric by source, one for one-label sets."""
    guards = result["guards"]
    names = [f"{one['guard']['name']}, {one['guard']['model']}" for one in guards]
    parts = []
    for metric, title in TITLES.items():
        rows = [
            [f"macro, {kind}", "", *(_cell(one["macro"][kind][metric]) for one in guards)]
            for kind in guards[0]["macro"]
        ]
        rows += [
            [source, str(found["n"]), *(_cell(one["sources"][source][metric]) for one in guards)]
            for source, found in guards[0]["sources"].items()
        ]
        parts.append(f"{title}:\n\n{table(['source', 'n', *names], rows)}")
    ones = guards[0]["one_class"]
    if ones:
        rows = [
            [
                source,
                found["label"],
                str(found["n"]),
                *(_cell(one["one_class"][source]["flagged"]) for one in guards),
            ]
            for source, found in ones.items()
        ]
        head = table(["source", "label", "n", *names], rows)
        parts.append(f"Sets with one label, share flagged:\n\n{head}")
    digests = [
        f"{name} {one['artefact']['file']} `{one['artefact']['sha256'][:16]}`"
        for name, one in zip(names, guards, strict=True)
    ]
    parts.append(f"Guards, by their sha256: {', '.join(digests)}.")
    parts.append(
        "At each guard's default thresholds; 95 % intervals in brackets (bootstrap, stratified by "
        "source and label; Wilson for shares)."
    )
    return "\n\n".join(parts)


def _cell(value: Mapping[str, float]) -> str:
    return f"{value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"
