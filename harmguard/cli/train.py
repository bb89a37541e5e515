"""`harmguard train`: the stages that make a guard from labelled rows."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from harmguard.cli import EXIT_CODES

_RESUMES = "A run that was stopped goes on where it was when the command is given again."
# stage -> help, description, examples
_STAGES = {
    "generate": (
        "have an LLM write harmful instructions, its answer begun for it",
        f"Stage 1 of HarmAug: DIR/rows.jsonl gets instructions without labels. {_RESUMES}",
        "  harmguard train generate plan.toml --out runs/generate",
    ),
    "respond": (
        "have another LLM answer instructions: complying, refusing, or not at all",
        f"Stage 2 of HarmAug: DIR/rows.jsonl gets the exchanges. {_RESUMES}",
        "  harmguard train respond plan.toml runs/generate/rows.jsonl --out runs/respond",
    ),
    "label": (
        "give rows a teacher's soft labels",
        f"Stage 3 of HarmAug: DIR/rows.jsonl gets the rows with P(harmful). {_RESUMES}",
        "  harmguard train label plan.toml runs/respond/rows.jsonl --out runs/label",
    ),
    "distill": (
        "train the student of a config on hard labels and, where rows have them, soft ones",
        "Train the student that CONFIG.toml describes (docs/train-your-own.md). A run that was "
        "stopped goes on from its last checkpoint when the command is given again.",
        "  harmguard train distill distill.toml --out runs/a\n"
        "  torchrun --nproc-per-node 4 -m harmguard train distill distill.toml --out runs/a",
    ),
    "adapt": (
        "fine-tune a student against a new attack, with replay, and show old and new scores",
        "Continual fine-tuning: ADAPT.toml names the student, the attack's rows, rows to replay "
        f"and what to measure (docs/pipeline.md). {_RESUMES}",
        "  harmguard train adapt adapt.toml --out runs/adapted",
    ),
    "run": (
        "run a whole plan: generate, respond, label, distil and measure",
        "Run every stage of a plan (docs/pipeline.md), a path or the name of one in the "
        f"package: harmaug-435m, smoke. {_RESUMES}",
        "  harmguard train run smoke --out runs/smoke",
    ),
    "average": (
        "make one student of two of the same shape: the weighted mean of their weights",
        "OUT is SECOND with the mean of both weights (Wortsman et al. 2022, arXiv:2203.05482), "
        "its logits divided by the temperature.",
        "  harmguard train average student runs/a/student runs/b/student --share 0.7",
    ),
    "ensemble": (
        "give rows the mean score of several checkpoints as soft labels",
        "OUT, JSON Lines, gets the rows of all DATA with P(harmful), the checkpoints' mean.",
        "  harmguard train ensemble soft.jsonl rows.jsonl --teachers runs/a/student runs/b/student",
    ),
    "mini": (
        "make the training set and the starting student of the mini guard",
        "OUT gets rows, student and configs from DATA, a folder as docs/data.md describes.",
        "  harmguard train mini data mini-data --teacher guards/base --start student",
    ),
    "multilingual": (
        "make the training set and the starting student of the multilingual guard",
        "OUT gets rows, student and configs from DATA, a folder as docs/data.md describes.",
        "  harmguard train multilingual data multilingual-data --teacher guards/base",
    ),
    "base": (
        "make the training set and the starting student of the base guard",
        "OUT gets rows, student and config from DATA, a folder as docs/data.md describes.",
        "  harmguard train base data base-data",
    ),
}
DESCRIPTION = "Train a guard, in stages or by a plan of all of them."
EPILOG = "examples:\n" + "\n".join(examples for *_, examples in _STAGES.values()) + "\n\n"
_FILES = {"distill": "CONFIG", "adapt": "ADAPT"}


def add(parser: argparse.ArgumentParser) -> None:
    """Add the stages of this command."""
    stages = parser.add_subparsers(dest="stage", metavar="STAGE", required=True)
    for name, (help_, description, examples) in _STAGES.items():
        stage = stages.add_parser(
            name,
            help=help_,
            description=description,
            epilog=f"examples:\n{examples}\n\n{EXIT_CODES}",
        )
        _TOOLS.get(name, _add_stage)(name, stage)


def _add_stage(name: str, stage: argparse.ArgumentParser) -> None:
    if name in _FILES:
        stage.add_argument("config", type=Path, metavar=f"{_FILES[name]}.toml")
    else:
        stage.add_argument("plan", metavar="PLAN", help="a path, or a name in the package")
    if name == "respond":
        stage.add_argument("data", type=Path, metavar="DATA", help="a file of instructions")
    if name == "label":
        stage.add_argument("data", type=Path, nargs="+", metavar="DATA", help="files of rows")
    stage.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="the folder of what it makes"
    )
    if name == "distill":
        stage.add_argument(
            "--checkpoints",
            type=Path,
            metavar="DIR",
            help="folder of the resumable states (default: OUT/checkpoints)",
        )


def _add_average(_: str, stage: argparse.ArgumentParser) -> None:
    for name, help_ in (("out", "a new folder"), ("first", "a student"), ("second", "a student")):
        stage.add_argument(name, type=Path, metavar=name.upper(), help=help_)
    stage.add_argument(
        "--share", type=float, default=0.5, metavar="S", help="of the second, 0 to 1 (default: .5)"
    )
    stage.add_argument(
        "--temperature", type=float, default=1.0, metavar="T", help="of the logits (default: 1)"
    )


def _add_ensemble(_: str, stage: argparse.ArgumentParser) -> None:
    stage.add_argument("out", type=Path, metavar="OUT", help="a new file, .jsonl")
    stage.add_argument("data", type=Path, nargs="+", metavar="DATA", help="files of rows")
    stage.add_argument(
        "--teachers", type=Path, nargs="+", required=True, metavar="FOLDER", help="checkpoints"
    )


def _add_guard(name: str, stage: argparse.ArgumentParser) -> None:
    stage.add_argument("data", type=Path, metavar="DATA", help="the folder of the data")
    stage.add_argument("out", type=Path, metavar="OUT", help="a new folder")
    if name != "base":
        stage.add_argument(
            "--teacher", type=Path, required=True, metavar="BUNDLE", help="the base guard's folder"
        )
    if name == "mini":
        stage.add_argument(
            "--start", type=Path, required=True, metavar="FOLDER", help="the student's checkpoint"
        )


_TOOLS = {
    "average": _add_average,
    "ensemble": _add_ensemble,
    "mini": _add_guard,
    "multilingual": _add_guard,
    "base": _add_guard,
}


def run(args: argparse.Namespace) -> int:
    """Run the stage; prints the student's folder, the report, or the stage's summary."""
    if args.stage in _TOOLS:
        print(_tool(args))
        return 0
    if args.stage == "distill":
        from harmguard.training.distil.config import read_config
        from harmguard.training.distil.distill import distill

        print(distill(read_config(args.config), args.out, checkpoints=args.checkpoints))
        return 0
    if args.stage == "adapt":
        from harmguard.training.harmaug import adapt

        print(adapt.table(adapt.adapt(adapt.read_adapt(args.config), args.out)))
        return 0
    if args.stage == "run":
        from harmguard.training.harmaug.run import run as run_plan
        from harmguard.training.harmaug.run import table

        print(table(run_plan(args.plan, args.out)))
        return 0
    print(json.dumps(_stage(args)["summary"]))
    return 0


def _tool(args: argparse.Namespace) -> str:
    """Run one of the tools; what it made, for the terminal."""
    if args.stage == "average":
        from harmguard.training.distil.average import average

        options = {"share": args.share, "temperature": args.temperature}
        return str(average(args.first, args.second, args.out, **options))
    if args.stage == "ensemble":
        from harmguard.training.distil.ensemble import label

        return f"{label(args.teachers, args.data, args.out)} rows"
    if args.stage == "base":
        from harmguard.training.corpora import base

        return f"{base.write(args.data, args.out, base.mpnet_archive())} rows"
    if args.stage == "multilingual":
        from harmguard.training.corpora import multilingual

        return f"{multilingual.write(args.data, args.out, args.teacher)} rows"
    from harmguard.training.corpora import mini

    return f"{mini.write(args.data, args.out, args.start, args.teacher)} rows"


def _stage(args: argparse.Namespace) -> dict[str, Any]:
    from harmguard.training.harmaug.plan import read_plan

    plan = read_plan(args.plan, stages=[args.stage])
    if args.stage == "generate":
        from harmguard.training.harmaug.generate import generate

        return generate(plan, args.out)
    if args.stage == "respond":
        from harmguard.training.harmaug.respond import respond

        return respond(plan, args.data, args.out)
    from harmguard.training.harmaug.label import label

    return label(plan, args.data, args.out)
