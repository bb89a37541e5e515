"""What a guard's scores are worth on labelled rows: report.json, report.md, pictures, scores.jsonl.

`evaluate` is a pure function of labels and scores, so a report can be made again from
scores.jsonl without scoring anything. No output holds a text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from harmguard.bundle.spec import KINDS
from harmguard.core.files import new_folder
from harmguard.errors import DataError
from harmguard.training.evaluate import metrics
from harmguard.training.evaluate.metrics import Floats, Ints, wilson
from harmguard.training.evaluate.scored import Scored

MIN_ROWS = 20
"""A source counts for the macro figures when it has at least this many rows of each label."""
LENGTHS = (("<=128", 0, 128), ("129-512", 129, 512), (">512", 513, None))


def evaluate(
    rows: Sequence[Scored], thresholds: Mapping[str, float], *, resamples: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """The report as it stands in report.json.

    `thresholds` are of each kind of input: a score at or above one is flagged. `resamples` is how
    many bootstrap replicates, stratified by source and label, are behind each interval; the same
    rows and `seed` give the same report. Raises DataError for no rows, or a kind without a
    threshold.
    """
    if not rows:
        raise DataError("found no rows; expected at least one: is the data file empty?")
    lacking = sorted({r.kind for r in rows} - set(thresholds))
    if lacking:
        raise DataError(f"found rows of kind {lacking[0]} and no threshold for that kind")
    sources, one_class, macro = _per_source(rows, thresholds, resamples, seed)
    return {
        "format": 1,
        "thresholds": {k: thresholds[k] for k in KINDS if any(r.kind == k for r in rows)},
        "settings": {
            "resamples": resamples,
            "seed": seed,
            "level": metrics.LEVEL,
            "ece_bins": metrics.ECE_BINS,
            "min_rows": MIN_ROWS,
        },
        "rows": len(rows),
        "macro": _macro(macro),
        "pooled": _pooled(rows, thresholds, resamples, seed),
        "sources": sources,
        "one_class": one_class,
        "lengths": _lengths(rows, thresholds),
        **_per_language(rows, thresholds, resamples, seed),
    }


_Macro = tuple[str, dict[str, float], dict[str, Floats], float]


def _per_source(
    rows: Sequence[Scored], thresholds: Mapping[str, float], resamples: int, seed: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[_Macro]]:
    """Sources with both labels, with one, and what the macro figures are made of."""
    groups: dict[tuple[str, str], list[Scored]] = {}
    for row in rows:
        groups.setdefault((row.kind, row.source), []).append(row)
    sources: list[dict[str, Any]] = []
    one_class: list[dict[str, Any]] = []
    macro: list[_Macro] = []
    order = sorted(groups, key=lambda g: (KINDS.index(g[0]), g[1]))
    for i, (kind, source) in enumerate(order):
        members = groups[kind, source]
        y, p = _arrays(members)
        counts = _counts(y)
        harmful, safe = counts["harmful"], counts["safe"]
        head = {"source": source, "kind": kind, **counts}
        if harmful and safe:
            point = metrics.point_metrics(y, p, thresholds[kind])
            # A seed of its own per source keeps the replicates of two sources independent.
            drawn = metrics.bootstrap(y, p, thresholds[kind], n=resamples, seed=seed + 1 + i)
            enough = min(harmful, safe) >= MIN_ROWS
            sources.append({**head, "in_macro": enough, **_intervals(point, drawn)})
            if enough:
                macro.append((kind, point, drawn, harmful / len(members)))
        else:
            share = wilson(int((p >= thresholds[kind]).sum()), len(members))
            label = "harmful" if harmful else "safe"
            one_class.append({**head, "label": label, "flagged": share.to_json()})
    return sources, one_class, macro


def _arrays(rows: Sequence[Scored]) -> tuple[Ints, Floats]:
    return metrics.as_arrays([r.label for r in rows], [r.score for r in rows])


def _counts(y: Ints) -> dict[str, int]:
    return {"n": int(y.size), "harmful": int(y.sum()), "safe": int(y.size - y.sum())}


def _intervals(point: dict[str, float], drawn: dict[str, Floats]) -> dict[str, dict[str, float]]:
    return {name: metrics.interval(point[name], drawn[name]).to_json() for name in metrics.NAMES}


def _macro(sources: list[_Macro]) -> dict[str, dict[str, Any]]:
    """Means over sources: all of them, and of each kind. `constant`: AUPRC of a fixed score."""
    out: dict[str, dict[str, Any]] = {}
    for name in ("all", *KINDS):
        chosen = [s for s in sources if name in ("all", s[0])]
        if chosen:
            point = {m: float(np.mean([s[1][m] for s in chosen])) for m in metrics.NAMES}
            drawn = {m: np.mean([s[2][m] for s in chosen], axis=0) for m in metrics.NAMES}
            constant = round(float(np.mean([s[3] for s in chosen])), 6)
            out[name] = {
                "sources": len(chosen),
                "constant": constant,
                **_intervals(point, drawn),
            }
    return out


def _pooled(
    rows: Sequence[Scored], thresholds: Mapping[str, float], resamples: int, seed: int
) -> dict[str, dict[str, Any]]:
    out: dict[str, dict[str, Any]] = {}
    for kind in KINDS:
        members = [r for r in rows if r.kind == kind]
        if len({r.label for r in members}) == 2:
            y, p = _arrays(members)
            point = metrics.point_metrics(y, p, thresholds[kind])
            strata = [r.source for r in members]
            drawn = metrics.bootstrap(y, p, thresholds[kind], strata=strata, n=resamples, seed=seed)
            out[kind] = {**_counts(y), **_intervals(point, drawn)}
    return out


def _per_language(
    rows: Sequence[Scored], thresholds: Mapping[str, float], resamples: int, seed: int
) -> dict[str, Any]:
    """AUPRC, safe rows flagged and harmful ones missed of each language, of two or more."""
    groups: dict[str, list[Scored]] = {}
    for row in rows:
        groups.setdefault(row.lang, []).append(row)
    if len(groups) < 2:
        return {}
    out = []
    for i, (lang, members) in enumerate(sorted(groups.items())):
        y, p = _arrays(members)
        entry: dict[str, Any] = {"lang": lang, **_counts(y)}
        flagged = p >= np.array([thresholds[r.kind] for r in members])
        for label, key, wrong in ((0, "safe_flagged", flagged), (1, "harmful_missed", ~flagged)):
            if count := int((y == label).sum()):
                entry[key] = {"n": count, **wilson(int(wrong[y == label].sum()), count).to_json()}
        if 0 < entry["harmful"] < entry["n"]:
            at = thresholds[members[0].kind]
            point = metrics.point_metrics(y, p, at)
            drawn = metrics.bootstrap(y, p, at, n=resamples, seed=seed + 1 + i)
            entry["auprc"] = metrics.interval(point["auprc"], drawn["auprc"]).to_json()
        out.append(entry)
    return {"languages": out}


def _lengths(rows: Sequence[Scored], thresholds: Mapping[str, float]) -> list[dict[str, Any]]:
    """Per kind and length bucket: shares of safe rows flagged and of harmful rows missed."""
    out: list[dict[str, Any]] = []
    for kind in KINDS:
        for name, low, high in LENGTHS:
            entry: dict[str, Any] = {"kind": kind, "tokens": name}
            for label, key in ((0, "safe_flagged"), (1, "harmful_missed")):
                flags = [
                    r.score >= thresholds[kind]
                    for r in rows
                    if r.kind == kind and r.label == label and r.tokens is not None
                    if r.tokens >= low and (high is None or r.tokens <= high)
                ]
                wrong = sum(flags) if label == 0 else len(flags) - sum(flags)
                if flags:
                    entry[key] = {"n": len(flags), **wilson(wrong, len(flags)).to_json()}
            if len(entry) > 2:
                out.append(entry)
    return out


def markdown(report: Mapping[str, Any]) -> str:
    """The report as Markdown tables, for report.md and the terminal."""
    parts = [f"# {report['guard']['name']}" if "guard" in report else "# Evaluation", ""]
    parts += [f"- data: {d['name']}, {d['rows']} rows" for d in report.get("data", [])]
    limits = ", ".join(f"{kind} {value}" for kind, value in report["thresholds"].items())
    settings = report["settings"]
    parts += [
        f"- flagged at a score of at least: {limits}",
        f"- in brackets: {settings['level']:.0%} intervals: bias-corrected bootstrap percentiles, "
        f"stratified by source and label, {settings['resamples']} resamples, seed "
        f"{settings['seed']}; for shares Wilson's",
        f"- ECE: {settings['ece_bins']} equally wide bins; macro: sources with at least "
        f"{settings['min_rows']} rows of each label; tokens without special tokens",
        "",
    ]
    mixed = [(f"macro, {k}", m["sources"], m) for k, m in report["macro"].items()]
    mixed += [(f"pooled, {k}", m["n"], m) for k, m in report["pooled"].items()]
    parts += ["## Over sources, and pooled", "", *_metric_table("", mixed)]
    per = [(f"{s['source']} ({s['kind']})", s["n"], s) for s in report["sources"]]
    parts += ["## Sources with both labels", "", *_metric_table("source", per)]
    ones = [
        [f"{s['source']} ({s['kind']})", s["label"], str(s["n"]), _cell(s["flagged"])]
        for s in report["one_class"]
    ]
    parts += ["## Sources with one label", ""]
    parts += _table(["source", "label", "n", "flagged"], ones)
    lengths = [
        [e["kind"], e["tokens"]]
        + [f"{_cell(e[k])}, n = {e[k]['n']}" if k in e else "-" for k in _ERRORS]
        for e in report["lengths"]
    ]
    parts += ["## By length", ""]
    parts += _table(["kind", "tokens", "safe flagged", "harmful missed"], lengths)
    if languages := report.get("languages"):
        body = [
            [e["lang"] or "not given", str(e["n"]), _cell(e["auprc"]) if "auprc" in e else "-"]
            + [f"{_cell(e[k])}, n = {e[k]['n']}" if k in e else "-" for k in _ERRORS]
            for e in languages
        ]
        parts += ["## By language", ""]
        parts += _table(["language", "n", "AUPRC", "safe flagged", "harmful missed"], body)
    return "\n".join(parts)


_ERRORS = ("safe_flagged", "harmful_missed")


def _cell(value: Mapping[str, float]) -> str:
    return f"{value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"


def _metric_table(head: str, lines: list[tuple[str, int, Any]]) -> list[str]:
    names = [
        n.replace("_at_fpr_1", " at 1 % FPR").replace("_at_fpr_5", " at 5 % FPR")
        for n in metrics.NAMES
    ]
    body = [[name, str(n)] + [_cell(m[k]) for k in metrics.NAMES] for name, n, m in lines]
    return _table([head, "n", *names], body)


def _table(head: list[str], body: list[list[str]]) -> list[str]:
    if not body:
        return ["None.", ""]
    lines = [head, ["---"] * len(head), *body]
    return ["| " + " | ".join(line) + " |" for line in lines] + [""]


def write_report(
    out: Path, rows: Sequence[Scored], report: Mapping[str, Any], *, pictures: bool = True
) -> Path:
    """Write report.json, report.md, scores.jsonl and the pictures to the new folder `out`.

    Raises OutputExistsError if `out` exists.
    """
    with new_folder(out) as aside:
        lines = [json.dumps(asdict(row)) for row in rows]
        _write(aside / "scores.jsonl", "\n".join(lines) + "\n")
        if pictures:
            from harmguard.training.evaluate import plots

            plots.draw(aside, rows, report)
        _write(aside / "report.md", markdown(report))
        _write(aside / "report.json", json.dumps(report, indent=1) + "\n")
    return out


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
