"""`harmguard train`: the stages that make a guard from labelled rows."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from harmguard.cli import COMMANDS, EXIT_CODES

_EXAMPLES = """\
examples:
  harmguard train distill distill.toml --out runs/a
  torchrun --nproc-per-node 4 -m harmguard train distill distill.toml --out runs/a

"""


def add(subparsers: Any) -> None:
    """Add this command and its stages to the main parser."""
    parser = subparsers.add_parser(
        "train",
        help=COMMANDS["train"],
        description="Train a guard. The one stage so far: distill.",
        epilog=_EXAMPLES + EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    stages = parser.add_subparsers(dest="stage", metavar="STAGE", required=True)
    distill = stages.add_parser(
        "distill",
        help="train the student of a config on hard labels and, where rows have them, soft ones",
        description="Train the student that CONFIG.toml describes (docs/train-your-own.md). A run "
        "that was stopped goes on from its last checkpoint when the command is given again.",
        epilog=_EXAMPLES + EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    distill.add_argument("config", type=Path, metavar="CONFIG.toml")
    distill.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="the run's folder; DIR/student at end",
    )
    distill.add_argument(
        "--checkpoints",
        type=Path,
        metavar="DIR",
        help="folder of the resumable states (default: OUT/checkpoints)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the stage; prints the student's folder."""
    from harmguard.training.config import read_config
    from harmguard.training.distill import distill

    student = distill(read_config(args.config), args.out, checkpoints=args.checkpoints)
    print(student, file=sys.stdout)
    return 0
