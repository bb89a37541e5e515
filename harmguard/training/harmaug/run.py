"""The whole pipeline in one folder: every stage, then students of several seeds, measured."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from harmguard.core.files import sha256_of
from harmguard.training.distil.distill import distill
from harmguard.training.evaluate.scoring import evaluate_guard
from harmguard.training.harmaug.generate import generate
from harmguard.training.harmaug.label import label
from harmguard.training.harmaug.plan import Plan, read_plan
from harmguard.training.harmaug.respond import respond
from harmguard.training.harmaug.smoke import make_models
from harmguard.training.stage import write_json
from harmguard.training.stage_inputs import described

FIGURES = ("f1", "auprc")


def run(plan: str, out: Path) -> dict[str, Any]:
    """Run every stage of a plan that `out` lacks; the report, also `out/report.json`.

    Raises what the stages raise; finished rows and stages stay, and the same call goes on.
    """
    out = out.resolve()
    chosen = read_plan(plan, out)
    if chosen.tiny_models:
        _say("making tiny models")
        make_models(chosen, out / "models")
    made = generate(chosen, out / "generate")
    _say_stage("generate", made)
    answered = respond(chosen, out / "generate" / chosen.rows_file, out / "respond")
    _say_stage("respond", answered)
    data = [*map(Path, chosen.labelled), out / "respond" / chosen.rows_file]
    labelled = label(chosen, data, out / "label")
    _say_stage("label", labelled)
    students = [_student(chosen, out, seed) for seed in chosen.distill.seeds]
    report = {
        "plan": chosen.name,
        "summaries": {
            "generate": made["summary"],
            "respond": answered["summary"],
            "label": labelled["summary"],
        },
        "students": students,
        "spread": spread(students),
    }
    write_json(out / "report.json", report)
    return report


def spread(students: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Mean and sample standard deviation over the seeds of the mean F1 and AUPRC of the sets."""
    found = {}
    for name in FIGURES:
        values = [student["mean"][name] for student in students if student["mean"]]
        if values:
            deviation = statistics.stdev(values) if len(values) > 1 else 0.0
            found[name] = {"mean": statistics.fmean(values), "deviation": deviation}
    return found


def table(report: dict[str, Any]) -> str:
    """The report as lines for a terminal: one per seed, then mean and deviation."""
    lines = [
        f"seed {student['seed']}: "
        + (
            ", ".join(f"{name} {value:.4f}" for name, value in student["mean"].items())
            or "not measured"
        )
        for student in report["students"]
    ]
    lines += [
        f"{name}: {value['mean']:.4f} +- {value['deviation']:.4f} over "
        f"{len(report['students'])} seeds"
        for name, value in report["spread"].items()
    ]
    return "\n".join(lines)


def _student(plan: Plan, out: Path, seed: int) -> dict[str, Any]:
    folder = out / f"distill-{seed}"
    rows = out / "label" / plan.rows_file
    _say(f"distill, seed {seed}")
    student = distill(plan.distill.config(rows, seed), folder)
    sources = _measured(student, folder / "eval.json", plan.evaluate)
    mean = {
        name: statistics.fmean(source[name]["value"] for source in sources)
        for name in FIGURES
        if sources
    }
    return {"seed": seed, "mean": mean, "sources": sources}


def _measured(student: Path, report: Path, evaluate: Sequence[str]) -> list[dict[str, Any]]:
    """The figures of each source; those of `report` where it is about these files and weights."""
    weights = student / "model.safetensors"
    guard = sha256_of(weights) if weights.is_file() else None
    data = described(evaluate)
    try:
        kept = json.loads(report.read_text(encoding="utf-8"))
        files = [{key: file[key] for key in ("name", "sha256")} for file in kept["data"]]
        if kept["guard"]["sha256"] == guard and files == data:
            sources: list[dict[str, Any]] = kept["sources"]
            return sources
    except (OSError, ValueError, KeyError, TypeError):  # none yet, or no report: measured below
        pass
    found: dict[str, Any] = {"guard": {"sha256": guard}, "data": [], "sources": []}
    if evaluate:
        _, found = evaluate_guard(student, [Path(path) for path in evaluate])
    write_json(report, found)
    measured: list[dict[str, Any]] = found["sources"]
    return measured


def _say_stage(name: str, manifest: dict[str, Any]) -> None:
    _say(f"{name}: {json.dumps(manifest['summary'])}")


def _say(text: str) -> None:
    tqdm.write(text, file=sys.stderr)
