"""Temperature and thresholds of a bundle from labelled rows; the model file stays as it is.

A text in several windows has as its score the maximum of sigmoid(z / T) over them, z being a
window's logit of harmful less that of safe. The sigmoid grows with z, so the same window wins at
every temperature, and logit(score) * T is its z: scores alone are enough to fit a new T.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from harmguard import HarmGuard
from harmguard.bundle import open_bundle, write_bundle
from harmguard.bundle.spec import KINDS
from harmguard.core.files import refuse_existing, sha256_of
from harmguard.core.scores import logit, sigmoid, window_scores
from harmguard.errors import DataError
from harmguard.inputs import kind_of
from harmguard.rows import Row, read_rows
from harmguard.stream import STREAM
from harmguard.training.evaluate import metrics
from harmguard.training.evaluate.metrics import Floats, Ints
from harmguard.training.evaluate.scoring import score_bundle, score_streams
from harmguard.training.evaluate.thresholds import (
    HIGHEST,
    LOWEST,
    MIN_OF_EACH,
    DefaultRule,
    is_degenerate,
    operating_points,
    stream_threshold,
)

TEMPERATURES = (0.05, 20.0)
"""Bounds of a fitted temperature."""
MIN_OF_EACH_LABEL = 50
"""Rows of each label from which a temperature is fitted; with fewer it stays as it is."""
STREAM_RULE = "lowest that stops no more safe answers, while they come, than default flags whole"
_NEAR = 0.15
_NEAR_GOLDEN = 8


@dataclass(frozen=True)
class Calibration:
    """What `calibrate` did: the new values, and notes on what it could not do."""

    temperature: float
    thresholds: dict[str, dict[str, dict[str, Any]]]
    metrics: dict[str, Any]
    notes: list[str] = field(default_factory=list)


def margins(scores: Any, temperature: float) -> Floats:
    """Logit differences (n) of the winning windows from scores (n) made at `temperature`.

    Scores that float32 rounds to 0 or 1 give the largest difference it can still tell apart.
    """
    return np.asarray(logit(scores) * temperature, np.float64)


def nll(z: Floats, labels: Ints, weights: Floats, temperature: float) -> float:
    """Weighted mean negative log-likelihood, in nats, of the labels at `temperature`."""
    signed = np.where(labels == 1, -z, z) / temperature
    return float(np.average(np.logaddexp(0, signed), weights=weights))


def fit_temperature(z: Floats, labels: Ints, weights: Floats) -> float:
    """The temperature within `TEMPERATURES` that minimises `nll`, to four decimals.

    The likelihood is convex in 1 / T, so its slope is bisected; rows that the guard separates
    without a mistake have their minimum at the lower bound.

    Raises DataError for labels of one class only.
    """
    if len(np.unique(labels)) < 2:
        raise DataError(
            f"found one label in all {len(labels)} rows; expected harmful and safe rows: a "
            "temperature cannot be fitted to one class"
        )
    signed = np.where(labels == 1, -z, z)
    high, low = (1 / t for t in TEMPERATURES)
    for _ in range(60):
        middle = (low + high) / 2
        if np.sum(weights * signed * sigmoid(signed * middle)) > 0:
            high = middle
        else:
            low = middle
    return round(2 / (low + high), 4)


def balanced_weights(rows: Sequence[Row]) -> Floats:
    """Row weights scaled so that each label of each kind of input weighs 1 in all."""
    weights = np.array([row.weight for row in rows], dtype=np.float64)
    cells = np.array([f"{row.kind} {row.label}" for row in rows])
    for cell in np.unique(cells):
        weights[cells == cell] /= weights[cells == cell].sum()
    return weights


def rescore_golden(lines: bytes, temperature: float, previous: float) -> bytes:
    """golden.jsonl with each score taken again from its reference logits at `temperature`.

    A score moves with z / T, so the tolerance grows where the temperature falls.
    """
    out = []
    for line in lines.decode("utf-8").splitlines():
        row = json.loads(line)
        row["score"] = round(float(window_scores(row["logits"], temperature).max()), 6)
        if "tolerance" in row and temperature < previous:
            row["tolerance"] = round(min(0.5, row["tolerance"] * previous / temperature), 6)
        out.append(json.dumps(row, ensure_ascii=False) + "\n")
    return "".join(out).encode("utf-8")


def calibrate(
    bundle: Path,
    labelled: Path,
    out: Path,
    *,
    rule: DefaultRule | None = None,
    threads: int | None = None,
) -> Calibration:
    """Write `out`: the bundle with a temperature and thresholds fitted to the labelled rows.

    Rows are scored through the public API, windows included. A kind of input without enough rows
    keeps its default threshold (moved to the new temperature), and loses operating points that
    its rows cannot support.

    `labelled` is a file of rows with both labels, `rule` chooses the default threshold. Raises
    DataError for rows and BundleError for a bundle that cannot be used, OutputExistsError if `out`
    exists.
    """
    refuse_existing(out)
    opened = open_bundle(bundle)
    manifest = opened.manifest.to_json()
    everything = read_rows(labelled, need=("label",))
    rows = [row for row in everything if not is_degenerate(row.prompt, row.response)]
    _check_labels(rows, labelled.name)
    with HarmGuard(bundle, threads=threads) as guard:
        scores = score_bundle(guard, rows)
        highest = score_streams(guard, rows, scores)
    previous = float(manifest["output"]["temperature"])
    result = fit(
        rows,
        margins([score.score for score in scores], previous),
        manifest,
        rule or DefaultRule(),
        f"{labelled.name} (sha256 {sha256_of(labelled)}",
        margins(highest, previous),
    )
    if len(rows) < len(everything):
        result.notes.append(
            f"left out {len(everything) - len(rows)} rows with a text of fewer than three distinct "
            "letters or digits"
        )
    manifest["output"]["temperature"] = result.temperature
    manifest["thresholds"] = result.thresholds
    manifest["metrics"] = {**manifest["metrics"], "calibration": result.metrics}
    files: dict[str, Path | bytes] = {name: opened.path(name) for name in manifest.pop("files")}
    golden = rescore_golden(opened.read("golden.jsonl"), result.temperature, previous)
    files["golden.jsonl"] = golden
    result.notes.extend(_golden_notes(golden, result.thresholds))
    if "README.md" in files:
        text = opened.read("README.md").decode()
        files["README.md"] = card(text, result).encode("utf-8")
    write_bundle(out, manifest, files)
    return result


def fit(
    rows: Sequence[Row],
    z: Floats,
    manifest: Mapping[str, Any],
    rule: DefaultRule,
    name: str,
    highest: Floats,
) -> Calibration:
    """Temperature, thresholds and their figures from labelled rows and their logit differences.

    `manifest` is the guard's, for its temperature and the thresholds that stay; `name` opens
    the description of the set that is kept beside each threshold. `highest` are the highest
    logit differences of the rows while they are written.
    """
    labels = np.array([row.label for row in rows], dtype=np.int64)
    kinds = np.array([row.kind for row in rows])
    sources = np.array([row.source for row in rows])
    weights = balanced_weights(rows)
    previous = float(manifest["output"]["temperature"])
    temperature, notes = _temperature(z, labels, weights, previous)
    p = sigmoid(z / temperature)
    thresholds: dict[str, dict[str, dict[str, Any]]] = {}
    figures: dict[str, Any] = {
        "set": f"{name}, {_counted(labels)})",
        "temperature_before": previous,
        "nll_before": round(nll(z, labels, weights, previous), 6),
        "nll_after": round(nll(z, labels, weights, temperature), 6),
    }
    for kind in KINDS:
        own = kinds == kind
        points, more = operating_points(labels[own], p[own], list(sources[own]), kind, rule)
        notes += more
        chosen_on = f"{name}, {_counted(labels[own])})"
        thresholds[kind] = {
            key: {**old, "value": moved(old["value"], previous, temperature)}
            for key, old in manifest["thresholds"][kind].items()
        } | {
            key: {"value": value, "set": chosen_on, "rule": text}
            for key, (value, text) in points.items()
        }
        if own.any():
            values = {key: point["value"] for key, point in thresholds[kind].items()}
            figures[kind] = _figures(labels[own], p[own], values)
    langs = np.array([row.lang for row in rows])
    if len(np.unique(langs)) > 1:
        default = {kind: thresholds[kind]["default"]["value"] for kind in KINDS}
        flagged = p >= np.array([default[kind] for kind in kinds])
        figures["languages"] = [
            {"lang": str(lang), **_language(labels[langs == lang], p[langs == lang],
                                            flagged[langs == lang])}
            for lang in np.unique(langs)
        ]  # fmt: skip
    notes += _add_stream(
        thresholds["exchange"], figures, labels, kinds == "exchange",
        p, sigmoid(highest / temperature), chosen_on,
    )  # fmt: skip
    return Calibration(temperature, thresholds, figures, notes)


def _temperature(
    z: Floats, labels: Ints, weights: Floats, previous: float
) -> tuple[float, list[str]]:
    """The fitted temperature, or the previous one where the rows are too few; and notes."""
    harmful = int(labels.sum())
    fewest = min(harmful, labels.size - harmful)
    if 0 < fewest < MIN_OF_EACH_LABEL:
        return previous, [
            f"the temperature stays {previous:g}: {harmful} harmful and {labels.size - harmful} "
            f"safe rows, at least {MIN_OF_EACH_LABEL} of each are needed"
        ]
    found = fit_temperature(z, labels, weights)
    if found not in TEMPERATURES:
        return found, []
    cause = (
        "the guard makes no mistake on these rows; likely rows that it was trained on, or too few"
        if found == TEMPERATURES[0]
        else "the guard is no better than chance on them; likely untrained, or labels the wrong way"
    )
    return found, [f"the temperature is at its bound, {found}: {cause}"]


def _add_stream(
    points: dict[str, dict[str, Any]], figures: dict[str, Any], labels: Ints, own: Any,
    p: Floats, highest: Floats, chosen_on: str,
) -> list[str]:  # fmt: skip
    """Add the operating point of streams and its figures; notes if there is none."""
    labels, p, highest = labels[own], p[own], highest[own]
    safe = labels == 0
    if min(int(safe.sum()), int(labels.sum())) < MIN_OF_EACH:
        return [] if STREAM not in points else [f"exchange: {STREAM} kept, as default is"]
    value = stream_threshold(p[safe], highest[safe], points["default"]["value"])
    if value is None:
        points.pop(STREAM, None)
        return [f"exchange: {STREAM} not chosen: a threshold of {HIGHEST} still stops more"]
    points[STREAM] = {"value": value, "set": chosen_on, "rule": STREAM_RULE}
    figures["exchange"][STREAM] = _figures(labels, highest, {STREAM: value})[STREAM]
    return []


def moved(threshold: float, previous: float, temperature: float) -> float:
    """The threshold at a new temperature that cuts at the same logit difference, four decimals."""
    if not 0 < threshold < 1:
        return threshold
    z = float(logit(threshold)) * previous
    return round(min(HIGHEST, max(LOWEST, float(sigmoid(z / temperature)))), 4)


def _figures(labels: Ints, p: Floats, thresholds: Mapping[str, float]) -> dict[str, Any]:
    out: dict[str, Any] = {"rows": int(labels.size), "harmful": int(labels.sum())}
    if 0 < labels.sum() < labels.size:
        point = metrics.point_metrics(labels, p, 0.5)
        out |= {key: round(point[key], 6) for key in ("auprc", "auroc", "ece")}
    for key, value in thresholds.items():
        shares = {}
        for label, figure in ((0, "fpr"), (1, "recall")):
            if (labels == label).any():
                shares[figure] = round(float((p[labels == label] >= value).mean()), 6)
        out[key] = {"threshold": value, **shares}
    return out


def _language(labels: Ints, p: Floats, flagged: Any) -> dict[str, Any]:
    """A language's rows, AUPRC, and shares that the default thresholds flag."""
    out: dict[str, Any] = {"rows": int(labels.size), "harmful": int(labels.sum())}
    if 0 < labels.sum() < labels.size:
        out["auprc"] = round(metrics.point_metrics(labels, p, 0.5)["auprc"], 6)
    for label, figure in ((0, "fpr"), (1, "recall")):
        if (labels == label).any():
            out[figure] = round(float(flagged[labels == label].mean()), 6)
    return out


def _counted(labels: Ints) -> str:
    harmful = int(labels.sum())
    return f"{labels.size} rows: {harmful} harmful, {labels.size - harmful} safe"


def _check_labels(rows: Sequence[Row], name: str) -> None:
    if not rows:
        raise DataError(f"{name} holds no rows with words in them; expected labelled texts")
    if len({row.label for row in rows}) < 2:
        raise DataError(
            f"{name}: found label {rows[0].label} in all {len(rows)} rows; expected harmful and "
            "safe rows: a temperature cannot be fitted to one class"
        )


def _golden_notes(golden: bytes, thresholds: Mapping[str, Any]) -> list[str]:
    near = 0
    for line in golden.decode("utf-8").splitlines():
        row = json.loads(line)
        kind = kind_of(row["response"])
        near += abs(row["score"] - thresholds[kind]["default"]["value"]) <= _NEAR
    if near >= _NEAR_GOLDEN:
        return []
    return [
        f"{near} golden pairs are within {_NEAR} of the default threshold; at least "
        f"{_NEAR_GOLDEN} make the check of an installation sharp"
    ]


def card(text: str, result: Calibration) -> str:
    """A model card with its section on calibration written anew, at the end."""
    text = re.sub(r"\n## Calibration\n.*?(?=\n## |\Z)", "", text, flags=re.S).rstrip()
    lines = [
        "## Calibration",
        "",
        f"Temperature {result.temperature}, fitted to {result.metrics['set']}; each kind and label "
        "weighs the same. Rates on that same set:",
        "",
        "| input | operating point | threshold | safe flagged | harmful flagged | rule |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for kind, points in result.thresholds.items():
        for name, point in points.items():
            found = result.metrics.get(kind, {}).get(name, {})
            shares = [f"{found[k]:.1%}" if k in found else "-" for k in ("fpr", "recall")]
            cells = [kind, name, f"{point['value']:.4f}", *shares, point["rule"]]
            lines.append("| " + " | ".join(cells) + " |")
    if languages := result.metrics.get("languages"):
        lines += [
            "",
            "By language, at the default thresholds:",
            "",
            "| language | rows | harmful | AUPRC | safe flagged | harmful flagged |",
            "| --- | --- | --- | --- | --- | --- |",
        ]
        for one in languages:
            auprc = f"{one['auprc']:.3f}" if "auprc" in one else "-"
            shares = [f"{one[k]:.1%}" if k in one else "-" for k in ("fpr", "recall")]
            cells = [one["lang"] or "not given", str(one["rows"]), str(one["harmful"])]
            lines.append("| " + " | ".join([*cells, auprc, *shares]) + " |")
    return text + "\n\n" + "\n".join(lines) + "\n"
