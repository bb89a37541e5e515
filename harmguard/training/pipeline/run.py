"""The whole pipeline in one folder: every stage, then students of several seeds, measured."""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

from harmguard.errors import StageError
from harmguard.training.distill import distill
from harmguard.training.pipeline.generate import generate
from harmguard.training.pipeline.label import label
from harmguard.training.pipeline.recipe import Recipe, read_recipe
from harmguard.training.pipeline.respond import respond
from harmguard.training.pipeline.smoke import make_models
from harmguard.training.pipeline.stage import write_json
from harmguard.training.scoring import evaluate_guard

FIGURES = ("f1", "auprc")


def run(recipe: str, out: Path) -> dict[str, Any]:
    """Run every stage of a recipe that `out` lacks; the report, also `out/report.json`.

    Raises what the stages raise; finished rows and stages stay, and the same call goes on.
    """
    chosen = read_recipe(recipe, out)
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
        "recipe": chosen.name,
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
        + ", ".join(f"{name} {value:.4f}" for name, value in student["mean"].items())
        for student in report["students"]
    ]
    lines += [
        f"{name}: {value['mean']:.4f} +- {value['deviation']:.4f} over "
        f"{len(report['students'])} seeds"
        for name, value in report["spread"].items()
    ]
    return "\n".join(lines)


def _student(recipe: Recipe, out: Path, seed: int) -> dict[str, Any]:
    folder = out / f"distill-{seed}"
    rows = out / "label" / recipe.rows_file
    _say(f"distill, seed {seed}")
    student = distill(recipe.distill.config(rows, seed), folder)
    report = folder / "eval.json"
    if not report.is_file():
        _, found = evaluate_guard(student, [Path(path) for path in recipe.evaluate])
        write_json(report, found)
    try:
        sources = json.loads(report.read_text(encoding="utf-8"))["sources"]
    except (ValueError, KeyError):
        raise StageError(f"{folder.name}/eval.json is no report; likely edited") from None
    mean = {
        name: statistics.fmean(source[name]["value"] for source in sources)
        for name in FIGURES
        if sources
    }
    return {"seed": seed, "mean": mean, "sources": sources}


def _say_stage(name: str, manifest: dict[str, Any]) -> None:
    _say(f"{name}: {json.dumps(manifest['summary'])}")


def _say(text: str) -> None:
    tqdm.write(text, file=sys.stderr)
