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
from typing import Any

import numpy as np

from benchmarks.harness import results as _results
from benchmarks.harness.data import val_rows
from benchmarks.harness.errors import BenchmarkDataError
from benchmarks.quality import _disguise_table
from benchmarks.quality._disguises import DISGUISES, Disguise
from benchmarks.quality._everyday import everyday
from harmguard import HarmGuard
from harmguard.bundle import open_bundle, write_bundle
from harmguard.inputs import Pair
from harmguard.rows import Row

PROMPTS, QUICK_PROMPTS = 200, 10
QUICK_ROWS = 40
SEED = 24


@dataclass(frozen=True)
class Guards:
    """A guard with its views, and the same without."""

    before: HarmGuard
    after: HarmGuard

    def scores(self, pairs: Sequence[Pair]) -> dict[str, Any]:
        """Scores of both, float32 [pairs] each."""
        return {"before": self.before.score_many(pairs), "after": self.after.score_many(pairs)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write the raw JSON, print the table."""
    about = "Recall under disguises, and benign texts flagged, with and without views."
    options = _results.parser("disguise", about, checkpoint=False).parse_args(arguments)
    result = _results.begin("disguise", options)
    rows = val_rows()
    points = {
        kind: {name: point.value for name, point in named.items()}
        for kind, named in open_bundle(options.bundle).manifest.thresholds.items()
    }
    with TemporaryDirectory() as folder:
        plain = without_views(options.bundle, Path(folder) / "plain")
        with (
            HarmGuard(plain, threads=options.threads) as before,
            HarmGuard(options.bundle, threads=options.threads) as after,
        ):
            guards = Guards(before, after)
            wanted = QUICK_PROMPTS if options.quick else PROMPTS
            result["prompts"] = wanted
            texts = {label: prompts(rows, label, wanted) for label in (1, 0)}
            result["clean"] = attack(guards, None, texts, points["prompt"])
            result["attacks"] = []
            for disguise in DISGUISES:
                found = attack(guards, disguise, texts, points["prompt"])
                result["attacks"].append(found)
                _results.say(f"{disguise.name}: {found['harmful']['default']}")
                _results.keep(result, options)
            benign = [(row.prompt, row.response) for row in rows if row.label == 0]
            sets: dict[str, list[Pair]] = {
                "benign rows of val": benign,
                **{name: [(text, None) for text in made] for name, made in everyday().items()},
            }
            result["benign"] = {
                name: flagged(guards, pairs[: QUICK_ROWS if options.quick else None], points)
                for name, pairs in sets.items()
            }
    _results.finish(result, options)
    print(_disguise_table.disguise(result))
    return 0


def without_views(bundle: Path, out: Path) -> Path:
    """A copy of the bundle that scores texts as they are."""
    opened = open_bundle(bundle)
    manifest = opened.manifest.to_json()
    manifest["input"]["normalisation"] = "none"
    write_bundle(out, manifest, {name: opened.path(name) for name in manifest.pop("files")})
    return out


def prompts(rows: Sequence[Row], label: int, wanted: int) -> list[str]:
    """The first `wanted` prompts of a label in a fixed random order."""
    found = [row.prompt for row in rows if row.label == label and row.response is None]
    random.Random(SEED).shuffle(found)
    if len(found) < wanted:
        raise BenchmarkDataError(
            f"{len(found)} prompts of label {label}; expected {wanted}; likely a small data file"
        )
    return found[:wanted]


def attack(
    guards: Guards,
    disguise: Disguise | None,
    texts: Mapping[int, Sequence[str]],
    points: Mapping[str, float],
) -> dict[str, Any]:
    """Texts flagged at each operating point, of both labels, in one disguise (None: clean)."""
    found: dict[str, Any] = {
        "name": disguise.name if disguise else "clean",
        "group": disguise.group if disguise else "",
        "most_lost": disguise.most_lost if disguise else None,
    }
    for label, kind in ((1, "harmful"), (0, "benign")):
        seeded = random.Random(SEED)
        made = [disguise.make(text, seeded) if disguise else text for text in texts[label]]
        scores = guards.scores([(text, None) for text in made])
        found[kind] = {
            name: {side: int((each >= value).sum()) for side, each in scores.items()}
            for name, value in points.items()
        }
    return found


def flagged(
    guards: Guards, pairs: Sequence[Pair], points: Mapping[str, Mapping[str, float]]
) -> dict[str, Any]:
    """How many of the pairs are flagged at the default point, and how many only with views."""
    kinds = ["prompt" if response is None else "exchange" for _, response in pairs]
    limits = np.array([points[kind]["default"] for kind in kinds], np.float32)
    scores = guards.scores(pairs)
    before, after = (scores[side] >= limits for side in ("before", "after"))
    return {
        "n": len(pairs),
        "before": int(before.sum()),
        "after": int(after.sum()),
        "only_after": int((after & ~before).sum()),
    }


if __name__ == "__main__":
    raise SystemExit(_results.guarded(main))
