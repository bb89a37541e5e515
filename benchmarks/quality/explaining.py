"""Which sentence: how often `explain` names the right one first.

    HARMGUARD_DATA=... python -m benchmarks explaining harmguard/models/mini

Planted: a harmful answer of one sentence among the 2 to 12 sentences of a benign one, with the
benign prompt; flagged texts only. Natural: harmful answers of 2 to 12 sentences that are flagged.
Beside it: chance, the sentence alone, and leaving one out. Needs the base install and the
development set. No text is written.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from benchmarks.harness.cells import percent
from benchmarks.harness.command import Benchmark, takes_bundle
from benchmarks.harness.data import val_rows
from benchmarks.harness.results import Run, Share, share
from benchmarks.quality._splices import planted
from harmguard import HarmGuard
from harmguard.bench.markdown import table
from harmguard.core.scores import logit
from harmguard.core.sentences import sentences
from harmguard.explain import Explanation, Part
from harmguard.rows import Row

SEED = 7
CANDIDATES, QUICK_CANDIDATES = 1100, 60
NATURAL, QUICK_NATURAL = 250, 12
MOST = 12


@dataclass(frozen=True)
class Planted:
    """A benign exchange with a harmful sentence at `start` to `end` of the answer."""

    prompt: str
    plain: str
    text: str
    start: int
    end: int


class Natural(TypedDict):
    """Of flagged harmful answers, what their sentences' removal does."""

    flagged: int
    no_single_removal_passes: Share
    said_to_be_spread: Share
    named_removed_passes: Share
    random_other_removed_passes: Share


class Explaining(TypedDict):
    """The raw result; planted: candidates, and for each group of texts n, ways and chance."""

    planted: dict[str, Any]
    natural: Natural


def measure(run: Run) -> Explaining:
    """Planted sentences, then natural ones."""
    rows = [row for row in val_rows() if row.response]
    with run.guard() as guard:
        named = named_planted(guard, planted_rows(rows, run.size(CANDIDATES, QUICK_CANDIDATES)))
        run.keep({"planted": named})
        own = natural(guard, rows, run.size(NATURAL, QUICK_NATURAL))
    return {"planted": named, "natural": own}


def planted_rows(rows: Sequence[Row], count: int) -> list[Planted]:
    """Benign answers, each with a harmful sentence at a random sentence's end."""
    rng = random.Random(SEED)
    benign = [r for r in rows if r.label == 0 and 2 <= len(sentences(r.response or "")) <= MOST]
    harmful = [r for r in rows if r.label == 1 and len(sentences(r.response or "")) == 1]
    rng.shuffle(benign)
    rng.shuffle(harmful)
    texts = []
    for number in range(count):
        row = benign[number % len(benign)]
        inner = (harmful[number % len(harmful)].response or "").strip()
        inner += "" if inner[-1] in ".!?" else "."
        plain = row.response or ""
        texts.append(Planted(row.prompt, plain, *planted(plain, inner, rng)))
    return texts


def named_planted(guard: HarmGuard, made: Sequence[Planted]) -> dict[str, Any]:
    """Of flagged texts, how often the planted sentence comes first, by each way of ranking."""
    flagged = [v.harmful for v in guard.check_many([(one.prompt, one.text) for one in made])]
    before = [v.harmful for v in guard.check_many([(one.prompt, one.plain) for one in made])]
    ways: dict[str, Callable[[Part], float]] = {
        "explain": lambda part: part.part,
        "sentence alone": lambda part: part.alone,
        "leave one out": lambda part: part.drop,
    }
    groups: dict[str, list[dict[str, float]]] = {"flagged": [], "flagged only with it": []}
    for one, is_flagged, was in zip(made, flagged, before, strict=True):
        if not is_flagged:
            continue
        parts = guard.explain(one.prompt, one.text).parts
        right = max(parts, key=lambda part: _overlap(part, one))
        hits = {name: float(max(parts, key=way) is right) for name, way in ways.items()}
        hits["chance"] = 1 / len(parts)
        groups["flagged"].append(hits)
        if not was:
            groups["flagged only with it"].append(hits)
    return {
        "candidates": len(made),
        **{
            name: {
                "n": len(hits),
                **{way: share(h[way] for h in hits) for way in ways},
                "chance": sum(h["chance"] for h in hits) / max(1, len(hits)),
            }
            for name, hits in groups.items()
        },
    }


def _overlap(part: Part, one: Planted) -> int:
    return min(part.end, one.end) - max(part.start, one.start)


def natural(guard: HarmGuard, rows: Sequence[Row], count: int) -> Natural:
    """Flagged harmful answers: does the text without the sentence named first pass?"""
    rng = random.Random(SEED)
    long = [r for r in rows if r.label == 1 and 2 <= len(sentences(r.response or "")) <= MOST]
    rng.shuffle(long)
    named: list[bool] = []
    other: list[bool] = []
    none: list[bool] = []
    spread: list[bool] = []
    for row in long[:count]:
        explained = guard.explain(row.prompt, row.response)
        if not explained.verdict.harmful or len(explained.parts) < 2:
            continue
        spread.append(explained.spread)
        passes = _passes(explained)
        none.append(not any(passes.values()))
        if not none[-1]:
            first = explained.named[0]
            named.append(passes[first])
            other.append(passes[rng.choice([p for p in explained.parts if p is not first])])
    return {
        "flagged": len(none),
        "no_single_removal_passes": share(none),
        "said_to_be_spread": share(spread),
        "named_removed_passes": share(named),
        "random_other_removed_passes": share(other),
    }


def _passes(explained: Explanation) -> dict[Part, bool]:
    over = float(logit(explained.verdict.score) - logit(explained.verdict.threshold))
    return {part: part.drop > over for part in explained.parts}


def tables(result: Explaining) -> str:
    """How often the right sentence is named first."""
    texts, own = result["planted"], result["natural"]
    ways = ("explain", "sentence alone", "leave one out")
    first = table(
        ["texts", "n", *ways, "chance"],
        [
            [
                name,
                str(texts[name]["n"]),
                *(percent(texts[name][way]) for way in ways),
                f"{texts[name]['chance']:.0%}",
            ]
            for name in ("flagged", "flagged only with it")
        ],
    )
    removed = table(
        ["of flagged harmful answers", "share"],
        [
            [name, f"{percent(part)}, n = {part['n']}"]
            for name, part in (
                ("no single sentence's removal lets it pass", own["no_single_removal_passes"]),
                ("said to be spread", own["said_to_be_spread"]),
                ("else: passes without the one named first", own["named_removed_passes"]),
                ("else: passes without a random other one", own["random_other_removed_passes"]),
            )
        ],
    )
    return (
        f"A harmful sentence planted among 2 to 12 of a benign answer ({texts['candidates']:,} "
        f"texts), named first:\n\n{first}\n\n{removed}"
    )


COMMAND = Benchmark(__name__, takes_bundle, measure, tables)
