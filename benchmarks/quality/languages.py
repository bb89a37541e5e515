"""What a guard is worth in each language: AUPRC, false alarms, and requests beside look-alikes.

    HARMGUARD_DATA=... python -m benchmarks languages guards/multilingual

Scores multilingual_val.jsonl.gz. A language's AUPRC is over its prompts and exchanges together.
Its benign rows are counted at a default threshold that other rows have set: the rows are dealt
into five folds, and each fold is judged at the threshold that `--max-flagged` gives on the other
four. Then 15 requests in each language beside their harmless look-alikes, which were translated by
machine. Nothing is timed; no text is written.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from benchmarks.harness.command import Benchmark, takes_bundle
from benchmarks.harness.data import data_folder
from benchmarks.harness.results import INPUTS, Run, Share, read_json, say, share
from benchmarks.quality.quality import Interval
from harmguard import HarmGuard
from harmguard.bench.markdown import table
from harmguard.bundle import open_bundle
from harmguard.rows import Row, read_rows

FOLDS = 5
LEAST = 60
"""Benign rows from which a language's share of false alarms is told."""
QUICK_ROWS = 12
TRANSLATED = INPUTS / "translated.json"


class Language(TypedDict):
    """A language's figures; `auprc` None where it has one label alone."""

    lang: str
    n: int
    harmful: int
    auprc: Interval | None
    benign: Share


class Pairs(TypedDict):
    """Requests beside look-alikes in a language."""

    lang: str
    auprc: float
    requests: Share
    alike: Share


class Languages(TypedDict):
    """The raw result."""

    max_flagged: float
    languages: list[Language]
    mean_auprc: float
    benign: Share
    pairs: list[Pairs]


def arguments(parser: argparse.ArgumentParser) -> None:
    """The bundle, and the rule of its default threshold."""
    takes_bundle(parser)
    parser.add_argument(
        "--max-flagged",
        type=float,
        default=0.2,
        metavar="SHARE",
        help="as `harmguard calibrate` was given it (default: %(default)s)",
    )


def measure(run: Run) -> Languages:
    """Score the rows of all languages, then the translated pairs."""
    name = "multilingual_val.jsonl.gz"
    rows = read_rows(data_folder(name) / name, need=("label",))
    if run.options.quick:
        rows = quick(rows)
    with run.guard() as guard:
        scores = scored(guard, rows)
        say(f"{len(rows)} rows scored")
        flagged = cross_flagged(rows, scores, run.options.max_flagged)
        pairs = [
            _pairs(guard, lang, texts) for lang, texts in read_json(TRANSLATED)["pairs"].items()
        ]
    langs = np.array([row.lang for row in rows])
    labels = np.array([row.label for row in rows])
    found = [
        language(str(lang), labels[langs == lang], scores[langs == lang], flagged[langs == lang])
        for lang in np.unique(langs)
    ]
    ranked = [one["auprc"]["value"] for one in found if one["auprc"]]
    return {
        "max_flagged": run.options.max_flagged,
        "languages": found,
        "mean_auprc": float(np.mean(ranked)),
        "benign": share(flagged[labels == 0]),
        "pairs": pairs,
    }


def quick(rows: Sequence[Row]) -> list[Row]:
    """The first rows of each language and label."""
    taken: dict[tuple[str, int | None], int] = {}
    kept = []
    for row in rows:
        key = row.lang, row.label
        taken[key] = taken.get(key, 0) + 1
        if taken[key] <= QUICK_ROWS:
            kept.append(row)
    return kept


def scored(guard: HarmGuard, rows: Sequence[Row]) -> npt.NDArray[np.float64]:
    """The scores of rows, float64 [rows]."""
    return np.array([v.score for v in guard.check_many([row.pair for row in rows])])


def fold_of(row: Row) -> int:
    """The fold of a row, 0 to FOLDS - 1, by its prompt: what shares a prompt stays together."""
    return hashlib.sha256(row.prompt.encode("utf-8", "surrogatepass")).digest()[0] % FOLDS


def cross_flagged(
    rows: Sequence[Row], scores: npt.NDArray[np.float64], max_flagged: float
) -> npt.NDArray[np.bool_]:
    """Whether each row is flagged at the default threshold that the other folds set [rows].

    By the rule of `harmguard calibrate`, for prompts and exchanges apart. Raises DataError where
    no threshold satisfies it.
    """
    from harmguard.training.evaluate.thresholds import DefaultRule, operating_points

    rule = DefaultRule(max_fpr=max_flagged)
    folds = np.array([fold_of(row) for row in rows])
    kinds = np.array([row.kind for row in rows])
    labels = np.array([row.label for row in rows], np.int64)
    sources = np.array([row.source for row in rows])
    flagged = np.zeros(len(rows), bool)
    for kind in np.unique(kinds):
        for fold in range(FOLDS):
            own = (kinds == kind) & (folds == fold)
            set_by = (kinds == kind) & (folds != fold)
            points, _ = operating_points(
                labels[set_by], scores[set_by], list(sources[set_by]), str(kind), rule
            )
            # Too few rows of a kind to choose by: the threshold of an uncalibrated guard.
            value = points["default"][0] if "default" in points else 0.5
            flagged[own] = scores[own] >= value
    return flagged


def language(
    lang: str,
    labels: npt.NDArray[np.int64],
    scores: npt.NDArray[np.float64],
    flagged: npt.NDArray[np.bool_],
) -> Language:
    """The figures of one language from its rows."""
    from harmguard.training.evaluate.metrics import bootstrap, interval, point_metrics

    auprc: Interval | None = None
    if 0 < labels.sum() < labels.size:
        value = point_metrics(labels, scores, 0.5)["auprc"]
        found = interval(value, bootstrap(labels, scores, 0.5)["auprc"])
        auprc = {"value": found.value, "low": found.low, "high": found.high}
    return {
        "lang": lang,
        "n": int(labels.size),
        "harmful": int(labels.sum()),
        "auprc": auprc,
        "benign": share(flagged[labels == 0]),
    }


def _pairs(guard: HarmGuard, lang: str, texts: Sequence[Sequence[str]]) -> Pairs:
    from harmguard.training.evaluate.metrics import point_metrics

    verdicts = [
        guard.check_many([(text, None) for text in side]) for side in zip(*texts, strict=True)
    ]
    labels = [1] * len(texts) + [0] * len(texts)
    scores = [verdict.score for side in verdicts for verdict in side]
    requests, alike = (share(verdict.harmful for verdict in side) for side in verdicts)
    return {
        "lang": lang,
        "auprc": point_metrics(labels, scores, 0.5)["auprc"],
        "requests": requests,
        "alike": alike,
    }


def tables(result: Languages) -> str:
    """A row a language: AUPRC and benign flagged; then the translated pairs."""
    rows = [
        [
            one["lang"],
            str(one["n"]),
            str(one["harmful"]),
            _interval(one["auprc"]),
            _percent(one["benign"]) if one["benign"]["n"] >= LEAST else "-",
        ]
        for one in result["languages"]
    ]
    pairs = [
        [
            one["lang"],
            f"{one['auprc']:.3f}",
            f"{one['requests']['count']} of {one['requests']['n']}",
            f"{one['alike']['count']} of {one['alike']['n']}",
        ]
        for one in result["pairs"]
    ]
    heads = ["language", "rows", "harmful", "AUPRC", "benign flagged, %"]
    rule = f"at most {100 * result['max_flagged']:g} % of safe rows"
    return (
        f"Mean AUPRC over languages {result['mean_auprc']:.3f}. Benign rows flagged, {FOLDS} "
        f"folds, each at the default threshold of the others ({rule}): "
        f"{_percent(result['benign'])} % of {result['benign']['n']}. 95 % intervals; false alarms "
        f"of languages with fewer than {LEAST} benign rows are left out.\n\n"
        f"{table(heads, rows)}\n\n"
        f"Requests beside harmless look-alikes, translated by machine, flagged at the bundle's "
        f"default threshold:\n\n"
        f"{table(['language', 'AUPRC', 'requests flagged', 'look-alikes flagged'], pairs)}"
    )


def _interval(one: Interval | None) -> str:
    return f"{one['value']:.3f} ({one['low']:.3f} to {one['high']:.3f})" if one else "-"


def _percent(one: Share) -> str:
    return f"{100 * (one['share'] or 0):.1f} ({100 * one['low']:.1f} to {100 * one['high']:.1f})"


def _result(options: argparse.Namespace) -> str:
    return f"languages-{open_bundle(options.bundle).manifest.name}"


COMMAND = Benchmark(__name__, arguments, measure, tables, result=_result)
