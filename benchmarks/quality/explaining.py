"""Which sentence: how often `explain` names the right one first.

    HARMGUARD_DATA=... python -m benchmarks explaining harmguard/models/mini
    HARMGUARD_DATA=... python -m benchmarks explaining harmguard/models/mini --quick

Planted: a harmful answer of one sentence among the 2 to 12 sentences of a benign one, with the
benign prompt; flagged texts only. Natural: harmful answers of 2 to 12 sentences that are flagged.
Beside it: chance, the sentence alone, and leaving one out. Needs the base install and the
development set. No text is written.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.harness import results as _results
from benchmarks.harness.data import val_rows
from harmguard import HarmGuard
from harmguard.bench import stats
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write the raw JSON."""
    about = "How often explain names the right sentence first."
    options = _results.parser("explaining", about, checkpoint=False).parse_args(arguments)
    result = _results.begin("explaining", options)
    rows = [row for row in val_rows() if row.response]
    with HarmGuard(options.bundle, threads=options.threads) as guard:
        made = planted(rows, QUICK_CANDIDATES if options.quick else CANDIDATES)
        result["planted"] = named_planted(guard, made)
        _results.keep(result, options)
        result["natural"] = natural(guard, rows, QUICK_NATURAL if options.quick else NATURAL)
    _results.finish(result, options)
    print(result["planted"], result["natural"], sep="\n")
    return 0


def planted(rows: Sequence[Row], count: int) -> list[Planted]:
    """Benign answers, each with a harmful sentence at a random sentence's end."""
    rng = random.Random(SEED)
    benign = [r for r in rows if r.label == 0 and 2 <= len(sentences(r.response or "")) <= MOST]
    harmful = [r for r in rows if r.label == 1 and len(sentences(r.response or "")) == 1]
    rng.shuffle(benign)
    rng.shuffle(harmful)
    found = []
    for number in range(count):
        row = benign[number % len(benign)]
        text = row.response or ""
        inner = (harmful[number % len(harmful)].response or "").strip()
        inner += "" if inner[-1] in ".!?" else "."
        at = rng.choice([0, *(end for _, end in sentences(text))])
        head, tail = text[:at], text[at:]
        head += "" if not head or head[-1].isspace() else " "
        space = "" if not tail or tail[0].isspace() else " "
        start, end = len(head), len(head) + len(inner)
        found.append(Planted(row.prompt, text, head + inner + space + tail, start, end))
    return found


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
        found = guard.explain(one.prompt, one.text)
        right = max(found.parts, key=lambda part: _overlap(part, one))
        hits = {name: float(max(found.parts, key=way) is right) for name, way in ways.items()}
        hits["chance"] = 1 / len(found.parts)
        groups["flagged"].append(hits)
        if not was:
            groups["flagged only with it"].append(hits)
    return {
        "candidates": len(made),
        **{
            name: {
                "n": len(hits),
                **{
                    way: asdict(stats.wilson(int(sum(h[way] for h in hits)), len(hits)))
                    for way in ways
                },
                "chance": sum(h["chance"] for h in hits) / max(1, len(hits)),
            }
            for name, hits in groups.items()
        },
    }


def _overlap(part: Part, one: Planted) -> int:
    return min(part.end, one.end) - max(part.start, one.start)


def natural(guard: HarmGuard, rows: Sequence[Row], count: int) -> dict[str, Any]:
    """Flagged harmful answers: does the text without the sentence named first pass?"""
    rng = random.Random(SEED)
    long = [r for r in rows if r.label == 1 and 2 <= len(sentences(r.response or "")) <= MOST]
    rng.shuffle(long)
    named: list[bool] = []
    other: list[bool] = []
    flagged = none = spread = 0
    for row in long[:count]:
        found = guard.explain(row.prompt, row.response)
        if not found.verdict.harmful or len(found.parts) < 2:
            continue
        flagged += 1
        spread += found.spread
        passes = _passes(found)
        if not any(passes.values()):
            none += 1
            continue
        first = found.named[0]
        named.append(passes[first])
        other.append(passes[rng.choice([part for part in found.parts if part is not first])])
    return {
        "flagged": flagged,
        "no_single_removal_passes": asdict(stats.wilson(none, flagged)),
        "said_to_be_spread": asdict(stats.wilson(spread, flagged)),
        "named_removed_passes": asdict(stats.wilson(sum(named), len(named))),
        "random_other_removed_passes": asdict(stats.wilson(sum(other), len(other))),
    }


def _passes(found: Explanation) -> dict[Part, bool]:
    from harmguard.core.scores import logit

    over = float(logit(found.verdict.score) - logit(found.verdict.threshold))
    return {part: part.drop > over for part in found.parts}


if __name__ == "__main__":
    raise SystemExit(_results.guarded(main))
