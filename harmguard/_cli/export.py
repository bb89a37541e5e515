"""`harmguard export`: a checkpoint becomes a bundle."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from harmguard.cli import COMMANDS, EXIT_CODES

_EPILOG = """\
CHECKPOINT is a folder as transformers saves it: config.json, model.safetensors, tokenizer.json;
or, where there is no such folder, the id of a model on the hub, owner/name, which is downloaded.
What it does not say (licence, training data, thresholds) is written as unknown. The export
fails if the bundle's scores are not near enough to the checkpoint's.

examples:
  harmguard export checkpoint bundle --recipe fp32
  harmguard export checkpoint bundle-int8
  harmguard export owner/name bundle-int8 --revision main

"""


def add(subparsers: Any) -> None:
    """Add this command to the main parser."""
    parser = subparsers.add_parser(
        "export",
        help=COMMANDS["export"],
        description="Turn a checkpoint into a bundle that the runtime loads.",
        epilog=_EPILOG + EXIT_CODES,
    )
    parser.add_argument("checkpoint", metavar="CHECKPOINT", type=Path)
    parser.add_argument("out", metavar="OUT", type=Path, help="a new folder")
    parser.add_argument(
        "--recipe",
        default="int8",
        help="fp32, int8 (default), int4 (DeBERTa), or a recipe file, FILE.json",
    )
    parser.add_argument(
        "--revision", help="branch, tag or commit of a model on the hub (default: main)"
    )
    parser.add_argument(
        "--pairs",
        metavar="FILE",
        type=Path,
        help="JSONL of pairs for the parity gate (default: the ones that come with harmguard)",
    )
    parser.add_argument(
        "--gate",
        choices=("on", "off"),
        default="on",
        help="off: measure and print, but never fail; for random weights only, and the bundle "
        "says that no gate was passed",
    )


def run(args: argparse.Namespace) -> int:
    """Export and print the folder that was written."""
    from harmguard_export import export

    out = export(
        args.checkpoint,
        args.out,
        recipe=args.recipe,
        pairs=args.pairs,
        gate=args.gate == "on",
        revision=args.revision,
    )
    print(out)
    return 0
