"""Stage 2: another LLM answers the instructions, complying, refusing, or not at all."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from harmguard.rows import Row, read_rows
from harmguard.training.harmaug.engines import executor
from harmguard.training.harmaug.filters import is_refusal
from harmguard.training.harmaug.generate import no_text
from harmguard.training.harmaug.inference import Continue, seed_of
from harmguard.training.harmaug.plan import MODES, Plan
from harmguard.training.harmaug.provenance import request_of
from harmguard.training.models import identity
from harmguard.training.stage import REASON, Item, Stage
from harmguard.training.stage_inputs import as_item, unique

ENOUGH = 8  # empty answers that say something about the model, not about the few rows


def respond(plan: Plan, data: Path, out: Path) -> dict[str, Any]:
    """Write `out/rows.jsonl`: the instructions of `data` with their responses; the manifest.

    A response begins with its mode's prefix. Rows that a server refuses to answer go to
    `rejects.jsonl` with the reason; answers that add nothing to the prefix are counted. Raises
    GenerationError when no answer of a mode has a text, of ENOUGH or more.
    """
    settings = plan.respond
    rows = unique(read_rows(data))
    models = {"models": {mode: identity(getattr(settings, mode).model) for mode in MODES[:2]}}
    with Stage(out, request_of(plan, "respond", [str(data)], models)) as stage:
        if stage.manifest:
            return stage.manifest
        parts = assign(rows, settings.shares, plan.seed)
        made: list[Row] = []
        rejects: list[Item] = []
        summary: dict[str, Any] = {}
        for mode in MODES:
            answered, unanswered = _answered(stage, plan, mode, parts[mode])
            made += answered
            rejects += unanswered
            texts = [row.response for row in answered if row.response is not None]
            prefix = "" if mode == "none" else getattr(settings, mode).prefix.strip()
            summary[mode] = {
                "rows": len(answered),
                "refusals": sum(map(is_refusal, texts)),
                "empty": sum(text == prefix for text in texts),
                "removed": dict(sorted(Counter(r[REASON] for r in unanswered).items())),
            }
        return stage.finish([as_item(row) for row in made], rejects, summary)


def assign(rows: Sequence[Row], shares: dict[str, float], seed: int) -> dict[str, list[Row]]:
    """The rows of each mode, in input order.

    The modes take their shares one after the other from one shuffled ring of the rows: a
    sum of 1 gives every row one mode, and no row has a mode twice.
    """
    order = list(range(len(rows)))
    random.Random(seed_of(seed, "shares")).shuffle(order)
    parts, total = {}, 0.0
    for mode in MODES:
        start, total = round(total * len(rows)), total + shares[mode]
        taken = {order[i % len(rows)] for i in range(start, round(total * len(rows)))}
        parts[mode] = [rows[i] for i in sorted(taken)]
    return parts


def _answered(
    stage: Stage, plan: Plan, mode: str, rows: Sequence[Row]
) -> tuple[list[Row], list[Item]]:
    """The rows with their responses, and the results of those that got none."""
    named = [replace(row, id=f"{row.id}-{mode}", label=None, soft=None) for row in rows]
    if mode == "none":
        return [replace(row, response=None, task="prompt") for row in named], []
    how = getattr(plan.respond, mode)
    items: list[Item] = [
        {
            "id": row.id,
            "request": row.prompt.join(how.request.split("{prompt}")),
            "prefix": how.prefix,
        }
        for row in named
    ]
    work = Continue(plan.engine, how.model, plan.respond.sampling, plan.seed)
    # Rows of like length share a block, and so pad each other little.
    items.sort(key=lambda item: len(item["request"]))
    found = {r["id"]: r for r in stage.run(items, *executor(plan.engine, work))}
    results = [found[row.id] for row in named]
    lacking = [r.get(REASON, "empty") for r in results if not r.get("text", "").strip()]
    if len(lacking) == len(results) >= ENOUGH:
        raise no_text(f"responses of {mode}", Counter(lacking))
    made = [
        replace(row, response=(how.prefix + result["text"]).strip(), task="response")
        for row, result in zip(named, results, strict=True)
        if REASON not in result
    ]
    return made, [result for result in results if REASON in result]
