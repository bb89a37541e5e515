"""`harmguard sensitivity`: a recipe whose most sensitive layers are promoted until it passes."""

from __future__ import annotations

import argparse
from pathlib import Path

DESCRIPTION = "Measure the error per layer and write a recipe that passes the gate."
EPILOG = """\
Each group of linear layers of a checkpoint is rounded alone, and the error of the logits
measured. Then the worst are promoted, from int4 to int8 and from int8 to fp32, until the recipe's
parity gate passes. OUT gets recipe.json, for `harmguard export --recipe`, sensitivity.json with
every figure, and sensitivity.png. It exports once for every try, so it takes several times as
long as `harmguard export`.

examples:
  harmguard sensitivity deberta sensitive --recipe strict.json

"""


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument("checkpoint", metavar="CHECKPOINT", type=Path)
    parser.add_argument("out", metavar="OUT", type=Path, help="a new folder")
    parser.add_argument("--recipe", default="int8", help="int8 (default), int4, or FILE.json")
    parser.add_argument(
        "--pairs",
        metavar="FILE",
        type=Path,
        help="file of rows for the parity gate (default: the ones that come with harmguard)",
    )


def run(args: argparse.Namespace) -> int:
    """Measure and print the folder that was written."""
    from harmguard_export.sensitivity import find_recipe

    print(find_recipe(args.checkpoint, args.out, recipe=args.recipe, pairs=args.pairs))
    return 0
