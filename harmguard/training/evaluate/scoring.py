"""Labelled files -> scores of a bundle (through its public API) or of a checkpoint -> report."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from tqdm import tqdm

from harmguard import HarmGuard
from harmguard.bundle import open_bundle
from harmguard.bundle.spec import KINDS
from harmguard.checkpoint import Checkpoint, is_hub, load_checkpoint
from harmguard.checkpoint.folder import WEIGHTS_FILE
from harmguard.checkpoint.precision import has_bf16
from harmguard.core.files import sha256_of
from harmguard.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    InputError,
    UnknownThresholdError,
)
from harmguard.rows import Row, read_rows
from harmguard.stream import prefixes
from harmguard.training.evaluate.report import evaluate
from harmguard.training.evaluate.scored import Scored, scored

_BLOCK = 256


class Score(NamedTuple):
    """P(harmful) of a row, its tokens without special ones, and the windows it was scored in."""

    score: float
    tokens: int
    windows: int


def score_bundle(guard: HarmGuard, rows: Sequence[Row]) -> list[Score]:
    """One score for each row, in order.

    Raises DataError for a text that the guard does not take; its message names the row.
    """
    out: list[Score] = []
    with _bar(rows) as bar:
        for start in range(0, len(rows), _BLOCK):
            block = rows[start : start + _BLOCK]
            try:
                verdicts = guard.check_many([row.pair for row in block])
            except InputError as error:
                raise DataError(f"rows counted from {start}: {error}") from error
            out += [Score(v.score, v.tokens, v.windows) for v in verdicts]
            bar.update(len(block))
    return out


def score_streams(guard: HarmGuard, rows: Sequence[Row], whole: Sequence[Score]) -> list[float]:
    """The highest score that each exchange has while it is written; of a prompt alone 0.

    `whole` are the scores of the rows, which are those of their last prefixes. Raises DataError,
    as `score_bundle`.
    """
    parts = [
        (number, replace(row, response=text))
        for number, row in enumerate(rows)
        if row.response is not None
        for text in prefixes(row.response)[:-1]
    ]
    highest = [
        0.0 if row.response is None else score.score for row, score in zip(rows, whole, strict=True)
    ]
    scores = score_bundle(guard, [row for _, row in parts])
    for (number, _), score in zip(parts, scores, strict=True):
        highest[number] = max(highest[number], score.score)
    return highest


def score_checkpoint(scorer: Checkpoint, rows: Sequence[Row]) -> list[Score]:
    """One score per row, in order, from the checkpoint in torch."""
    out: list[Score] = []
    with _bar(rows) as bar:
        for start in range(0, len(rows), _BLOCK):
            encoded = scorer.encode([row.pair for row in rows[start : start + _BLOCK]])
            out += [
                Score(float(score), one.tokens, len(one.windows))
                for score, one in zip(scorer.scores(encoded), encoded, strict=True)
            ]
            bar.update(len(encoded))
    return out


def evaluate_guard(
    guard: Path,
    data: Sequence[Path],
    *,
    threshold: str = "default",
    threads: int | None = None,
    harmful: str | None = None,
    precision: Literal["fp32", "auto"] = "fp32",
) -> tuple[list[Scored], dict[str, Any]]:
    """Score labelled files with a guard, and the report on them.

    `guard` is a bundle's folder (it holds guard.json), a checkpoint's (config.json), or
    `hub:owner/name`; every row of the files `data` needs a label. `threshold` is a number, or an
    operating point of the bundle; a checkpoint has "default" alone, .5. `harmful` names the harmful
    label of a checkpoint whose names do not say it. A checkpoint is scored in float32, or with
    `precision` "auto" in bfloat16 where the machine is faster in it, which the report then says:
    scores differ by some thousandths.

    Raises DataError for rows, CheckpointError or BundleError for a guard, ConfigError or
    UnknownThresholdError for a threshold that cannot be used.
    """
    parts = [(path, read_rows(path, need=("label",))) for path in data]
    return evaluate_rows(
        guard, parts, threshold=threshold, threads=threads, harmful=harmful, precision=precision
    )


def evaluate_rows(
    guard: Path,
    parts: Sequence[tuple[Path, Sequence[Row]]],
    *,
    threshold: str = "default",
    threads: int | None = None,
    harmful: str | None = None,
    precision: Literal["fp32", "auto"] = "fp32",
) -> tuple[list[Scored], dict[str, Any]]:
    """As `evaluate_guard`, for rows that are read already, each part with its file."""
    rows = [row for _, part in parts for row in part]
    about: dict[str, Any]
    scored(rows, [0.0] * len(rows))  # a missing label shows before an hour of scoring
    if (guard / "guard.json").is_file():
        manifest = open_bundle(guard).manifest
        thresholds = {k: _threshold(threshold, manifest.thresholds[k]) for k in KINDS}
        about = {
            "name": manifest.name,
            "version": manifest.version,
            "model": manifest.precision.recipe,
            "sha256": manifest.files["model.onnx"].sha256,
        }
        with HarmGuard(guard, threads=threads) as opened:
            scores = score_bundle(opened, rows)
    elif is_hub(guard) or not guard.is_dir() or any(guard.glob("*config.json")):
        thresholds = {kind: _threshold(threshold, None) for kind in KINDS}
        bf16 = precision == "auto" and has_bf16()
        checkpoint = load_checkpoint(guard, harmful=harmful, bf16=bf16)
        weights = checkpoint.folder / WEIGHTS_FILE
        about = {
            "name": checkpoint.name,
            "model": f"checkpoint, {'bf16' if bf16 else 'fp32'}",
            "sha256": sha256_of(weights) if weights.is_file() else None,
        }
        if checkpoint.labels is not None and (record := checkpoint.labels.record()):
            about["labels"] = record
        scores = score_checkpoint(checkpoint, rows)
    else:
        raise CheckpointError(
            f"{guard.name} holds neither guard.json nor config.json; expected the folder of a "
            "bundle or of a Hugging Face checkpoint"
        )
    lines = scored(
        rows, [s.score for s in scores], [s.tokens for s in scores], [s.windows for s in scores]
    )
    files = [
        {"name": path.name, "sha256": sha256_of(path), "rows": len(part)} for path, part in parts
    ]
    return lines, {"guard": about, "data": files, **evaluate(lines, thresholds)}


def _threshold(wanted: str, points: Any) -> float:
    try:
        value = float(wanted)
    except ValueError:
        value = None
    if value is not None:
        if not 0 <= value <= 1:
            raise ConfigError(f"threshold {value}; expected a number from 0 to 1, or a name")
        return value
    if points is None:
        if wanted == "default":
            return 0.5
        raise ConfigError(
            f"threshold {wanted!a} for a checkpoint; expected a number: only bundles have named "
            "operating points"
        )
    if wanted not in points:
        known = ", ".join(sorted(points))
        raise UnknownThresholdError(f"threshold {wanted!a}; this bundle has {known}")
    return float(points[wanted].value)


def _bar(rows: Sequence[Row]) -> Any:
    return tqdm(total=len(rows), unit="row", desc="scoring", file=sys.stderr, disable=None)
