"""Stage 3: a teacher's soft label on every row (HarmAug, 3.2)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from harmguard.errors import TeacherError
from harmguard.training.harmaug.engines import executor
from harmguard.training.harmaug.inference import Judge
from harmguard.training.harmaug.plan import Plan
from harmguard.training.harmaug.provenance import request_of
from harmguard.training.models import identity
from harmguard.training.stage import REASON, Stage
from harmguard.training.stage_inputs import as_item, read_inputs


def label(plan: Plan, data: Sequence[Path], out: Path) -> dict[str, Any]:
    """Write `out/rows.jsonl`: the rows of `data` with `soft`, the teacher's P(harmful).

    Hard labels that rows have stay. Rows on which the teacher gives no verdict go to
    `rejects.jsonl` with the reason. Raises TeacherError when it gives none on any.
    """
    names = [str(path) for path in data]
    rows = [row for part in read_inputs(data) for row in part]
    teacher = {"teacher": identity(plan.label.model)}
    with Stage(out, request_of(plan, "label", names, teacher)) as stage:
        if stage.manifest:
            return stage.manifest
        items = [{"id": r.id, "prompt": r.prompt, "response": r.response} for r in rows]
        work = Judge(plan.engine, plan.label)
        results = stage.run(items, *executor(plan.engine, work))
        made = [
            replace(row, soft=result["soft"])
            for row, result in zip(rows, results, strict=True)
            if REASON not in result
        ]
        rejects = [result for result in results if REASON in result]
        if not made:
            raise TeacherError(
                f"no verdict on any of {len(rows)} rows ({rejects[0][REASON]}); expected some; "
                "likely another template or other words than this teacher's"
            )
        soft = np.array([row.soft for row in made])
        known = [row for row in made if row.label is not None]
        agreed = sum(row.label == int((row.soft or 0.0) > 0.5) for row in known)
        summary = {
            "labelled": len(made),
            "without_verdict": dict(sorted(Counter(r[REASON] for r in rejects).items())),
            "harmful": int((soft > 0.5).sum()),
            "unsure": int(((soft > 0.1) & (soft < 0.9)).sum()),
            "mean": round(float(soft.mean()), 6),
            "agreement_with_hard_labels": round(agreed / len(known), 6) if known else None,
        }
        return stage.finish([as_item(row) for row in made], rejects, summary)
