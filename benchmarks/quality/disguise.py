"""Do disguises hide harm, and does undoing them flag what is benign? Attack by operating point.

    HARMGUARD_DATA=... python -m benchmarks disguise harmguard/models/mini
    HARMGUARD_DATA=... python -m benchmarks disguise harmguard/models/mini --quick

Each attack of `benchmarks.quality._disguises` is made on the same harmful and benign prompts of the
development set; before is the same guard without views, at the same thresholds. Then all benign
rows as they are, and everyday texts of kinds that a rule may take for a disguise. About a quarter
of an hour on 2 cores. Nothing is timed; no text is written.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypedDict

import numpy as np

from benchmarks.harness.command import Benchmark, takes_bundle
from benchmarks.harness.data import val_rows
from benchmarks.harness.errors import BenchmarkDataError
from benchmarks.harness.results import Run, say
from benchmarks.quality._disguises import DISGUISES, Disguise
from benchmarks.quality._everyday import everyday
from harmguard import HarmGuard
from harmguard.bench.markdown import table
from harmguard.bundle import open_bundle, write_bundle
from harmguard.inputs import Pair
from harmguard.rows import Row

POINTS = ("default", "fpr_5", "fpr_1")
PROMPTS, QUICK_PROMPTS = 200, 10
QUICK_ROWS = 40
SEED = 24


@dataclass(frozen=True)
class Guards:
    """A guard with its views, and the same without."""

    before: HarmGuard
    after: HarmGuard

    def scores(self, pairs: Sequence[Pair]) -> tuple[Any, Any]:
        """Scores of both, float32 [pairs] each."""
        return self.before.score_many(pairs), self.after.score_many(pairs)


class Sides(TypedDict):
    """How many texts are flagged without views, and with them."""

    before: int
    after: int


class Attack(TypedDict):
    """Texts flagged by operating point, of both labels, in one disguise."""

    name: str
    group: str
    most_lost: float | None
    harmful: dict[str, Sides]
    benign: dict[str, Sides]


class Benign(Sides):
    """Benign texts as they are, flagged at the default point."""

    n: int
    only_after: int


class Disguised(TypedDict):
    """The raw result."""

    prompts: int
    clean: Attack
    attacks: list[Attack]
    benign: dict[str, Benign]


def measure(run: Run) -> Disguised:
    """Every attack, then benign texts as they are."""
    rows, wanted = val_rows(), run.size(PROMPTS, QUICK_PROMPTS)
    points = {
        kind: {name: point.value for name, point in named.items()}
        for kind, named in open_bundle(run.options.bundle).manifest.thresholds.items()
    }
    with TemporaryDirectory() as folder:
        plain = without_views(run.options.bundle, Path(folder) / "plain")
        with HarmGuard(plain, threads=run.options.threads) as before, run.guard() as after:
            guards = Guards(before, after)
            texts = {label: prompts(rows, label, wanted) for label in (1, 0)}
            clean = attack(guards, None, texts, points["prompt"])
            figures: Disguised = {"prompts": wanted, "clean": clean, "attacks": [], "benign": {}}
            for disguise in DISGUISES:
                one = attack(guards, disguise, texts, points["prompt"])
                figures["attacks"].append(one)
                say(f"{disguise.name}: {one['harmful']['default']}")
                run.keep(figures)
            sets: dict[str, list[Pair]] = {
                "benign rows of val": [(r.prompt, r.response) for r in rows if r.label == 0],
                **{name: [(text, None) for text in own] for name, own in everyday().items()},
            }
            most = run.size(None, QUICK_ROWS)
            for name, pairs in sets.items():
                figures["benign"][name] = flagged(guards, pairs[:most], points)
    return figures


def without_views(bundle: Path, out: Path) -> Path:
    """A copy of the bundle that scores texts as they are."""
    opened = open_bundle(bundle)
    manifest = opened.manifest.to_json()
    manifest["input"]["normalisation"] = "none"
    write_bundle(out, manifest, {name: opened.path(name) for name in manifest.pop("files")})
    return out


def prompts(rows: Sequence[Row], label: int, wanted: int) -> list[str]:
    """The first `wanted` prompts of a label in a fixed random order."""
    drawn = [row.prompt for row in rows if row.label == label and row.response is None]
    random.Random(SEED).shuffle(drawn)
    if len(drawn) < wanted:
        raise BenchmarkDataError(
            f"{len(drawn)} prompts of label {label}; expected {wanted}; likely a small data file"
        )
    return drawn[:wanted]


def attack(
    guards: Guards,
    disguise: Disguise | None,
    texts: Mapping[int, Sequence[str]],
    points: Mapping[str, float],
) -> Attack:
    """Texts flagged at each operating point, of both labels, in one disguise (None: clean)."""

    def count(label: int) -> dict[str, Sides]:
        seeded = random.Random(SEED)
        own = [disguise.make(text, seeded) if disguise else text for text in texts[label]]
        before, after = guards.scores([(text, None) for text in own])
        return {
            name: {"before": int((before >= value).sum()), "after": int((after >= value).sum())}
            for name, value in points.items()
        }

    return {
        "name": disguise.name if disguise else "clean",
        "group": disguise.group if disguise else "",
        "most_lost": disguise.most_lost if disguise else None,
        "harmful": count(1),
        "benign": count(0),
    }


def flagged(
    guards: Guards, pairs: Sequence[Pair], points: Mapping[str, Mapping[str, float]]
) -> Benign:
    """How many of the pairs are flagged at the default point, and how many only with views."""
    kinds = ["prompt" if response is None else "exchange" for _, response in pairs]
    limits = np.array([points[kind]["default"] for kind in kinds], np.float32)
    before, after = (scores >= limits for scores in guards.scores(pairs))
    return {
        "n": len(pairs),
        "before": int(before.sum()),
        "after": int(after.sum()),
        "only_after": int((after & ~before).sum()),
    }


def tables(result: Disguised) -> str:
    """Recall and benign flagged by attack and operating point, then benign texts as they are."""
    n, points = result["prompts"], [p for p in POINTS if p in result["clean"]["harmful"]]
    header = ["disguise", "group", *(f"recall, {p}" for p in points)]
    header += [*(f"benign flagged, {p}" for p in points), "points lost"]
    rows = [_row(one, result["clean"], points, n) for one in [result["clean"], *result["attacks"]]]
    benign = [
        [name, str(one["n"]), str(one["before"]), str(one["after"]), str(one["only_after"])]
        for name, one in result["benign"].items()
    ]
    return (
        f"{n} harmful and {n} benign prompts, in %, without views -> with them; points of recall "
        f"lost at the default point with views against clean text, and how many may be:\n\n"
        f"{table(header, rows)}\n\nBenign texts as they are, flagged at the default point:\n\n"
        + table(["texts", "n", "without views", "with views", "only with views"], benign)
    )


def _row(one: Attack, clean: Attack, points: list[str], n: int) -> list[str]:
    def share(counts: Sides) -> str:
        return f"{100 * counts['before'] / n:.0f} -> {100 * counts['after'] / n:.0f}"

    lost = 100 * (clean["harmful"]["default"]["before"] - one["harmful"]["default"]["after"]) / n
    limit = "" if one["most_lost"] is None else f" (at most {one['most_lost']:g})"
    return [
        one["name"].replace("|", "\\|"),
        one["group"],
        *(share(one["harmful"][point]) for point in points),
        *(share(one["benign"][point]) for point in points),
        f"{lost:.1f}{limit}",
    ]


COMMAND = Benchmark(__name__, takes_bundle, measure, tables)
