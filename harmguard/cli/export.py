"""`harmguard export`: a checkpoint becomes a bundle."""

from __future__ import annotations

import argparse
from pathlib import Path

from harmguard.errors import InputError

DESCRIPTION = "Turn a checkpoint into a bundle that the runtime loads."
EPILOG = """\
CHECKPOINT is a folder as transformers saves it: config.json, model.safetensors, tokenizer.json;
or hub:owner/name, a model of the hub, which is downloaded. No code of a checkpoint is run.
What it does not say (licence, training data, thresholds) is written as unknown. The export
fails if the bundle's scores are not near enough to the checkpoint's.

examples:
  harmguard export checkpoint bundle --recipe fp32
  harmguard export checkpoint bundle-int8

For apps on iPhone and Mac (docs/coreml.md): --target coreml writes model.mlpackage in place of
model.onnx. Its recipes are fp16, int8 (default), int4 and palette4; --deployment iOS18 takes the
--lengths 32,64,128,256,512 unless told otherwise, iOS17 takes every length and has no int4.

"""


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument("checkpoint", metavar="CHECKPOINT", type=Path)
    parser.add_argument("out", metavar="OUT", type=Path, help="a new folder")
    parser.add_argument(
        "--recipe",
        default="int8",
        help="fp32, int8 (default), int4, or a recipe file, FILE.json; for Core ML "
        "fp16, int8, int4 or palette4",
    )
    parser.add_argument(
        "--target",
        choices=("onnx", "coreml"),
        default="onnx",
        help="what runs the bundle (default: onnx, which HarmGuard loads)",
    )
    parser.add_argument(
        "--deployment",
        metavar="OS",
        help="with --target coreml: the oldest system, iOS18 (default) or iOS17",
    )
    parser.add_argument(
        "--lengths",
        metavar="N,N,...",
        type=_lengths,
        help="with --target coreml and iOS18: the lengths of inputs in tokens",
    )
    parser.add_argument(
        "--revision", help="branch, tag or commit of a model of the hub (default: main)"
    )
    parser.add_argument(
        "--harmful",
        metavar="NAME",
        help="the harmful label, where the names of the labels do not say it (docs/checkpoints.md)",
    )
    parser.add_argument(
        "--pairs",
        metavar="FILE",
        type=Path,
        help="file of rows for the parity gate (default: the ones that come with harmguard)",
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
    gate = args.gate == "on"
    if args.target == "coreml":
        from harmguard_export.coreml import export_coreml

        out = export_coreml(
            args.checkpoint,
            args.out,
            recipe=args.recipe,
            pairs=args.pairs,
            gate=gate,
            target=args.deployment or "iOS18",
            lengths=args.lengths,
            revision=args.revision,
            harmful=args.harmful,
        )
        print(out)
        return 0
    for option in ("deployment", "lengths"):
        if getattr(args, option) is not None:
            raise InputError(f"--{option} without --target coreml; expected both or neither")
    from harmguard_export import export

    out = export(
        args.checkpoint,
        args.out,
        recipe=args.recipe,
        pairs=args.pairs,
        gate=gate,
        revision=args.revision,
        harmful=args.harmful,
    )
    print(out)
    return 0


def _lengths(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(part.isdecimal() for part in parts):
        raise argparse.ArgumentTypeError(f"{text!a}; expected numbers of tokens, as 32,64,128")
    return tuple(map(int, parts))
