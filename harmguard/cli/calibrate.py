"""`harmguard calibrate`: temperature and thresholds of a bundle from labelled rows."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from harmguard.cli._guard_arguments import positive

DESCRIPTION = (
    "Score labelled rows with a bundle, fit the temperature, choose the operating "
    "points default, fpr_1 and fpr_5 for prompts and for exchanges, and stream for exchanges, "
    "and write a new bundle with the same model file. Operating points that the rows cannot "
    "support are named."
)
EPILOG = """\
examples:
  harmguard calibrate guards/uncalibrated val.jsonl.gz guards/mini
  harmguard calibrate guards/uncalibrated val.jsonl.gz guards/quiet --max-flagged 0.05
  harmguard calibrate guards/mini val.jsonl.gz cascade.json --cascade guards/large --bound 0.25

"""


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument("bundle", type=Path, help="folder of the bundle")
    parser.add_argument(
        "labelled", type=Path, help=".jsonl, .csv (both also .gz) or .parquet, both labels"
    )
    parser.add_argument("out", type=Path, help="new folder for the calibrated bundle")
    parser.add_argument(
        "--max-flagged",
        type=float,
        default=0.2,
        metavar="SHARE",
        help="the most of the safe rows of a kind that the operating point default may flag "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--cascade",
        type=Path,
        metavar="LARGE",
        help="fit BUNDLE and this larger guard to each other instead, and write the fit for "
        "harmguard.Cascade to OUT, a new JSON file",
    )
    parser.add_argument(
        "--bound",
        type=float,
        default=0.25,
        metavar="SHARE",
        help="with --cascade: the most of benign texts that goes up to LARGE (default: 0.25)",
    )
    parser.add_argument("--threads", type=positive, metavar="N", help="threads of the guard")


def run(args: argparse.Namespace) -> int:
    """Calibrate, and print the temperature and the thresholds."""
    if args.cascade is not None:
        return _cascade(args)
    from harmguard.training.evaluate.calibrate import calibrate
    from harmguard.training.evaluate.thresholds import DefaultRule

    rule = DefaultRule(max_fpr=args.max_flagged)
    result = calibrate(args.bundle, args.labelled, args.out, rule=rule, threads=args.threads)
    print(f"temperature {result.temperature}")
    for kind, points in result.thresholds.items():
        for name, point in points.items():
            found = result.metrics.get(kind, {}).get(name, {})
            shares = [
                f"{found[key]:.1%} of {label} rows flagged"
                for key, label in (("fpr", "safe"), ("recall", "harmful"))
                if key in found
            ]
            print(f"{kind} {name} {point['value']:.4f}", *shares, sep=", ")
    for note in result.notes:
        print(f"note: {note}", file=sys.stderr)
    return 0


def _cascade(args: argparse.Namespace) -> int:
    """Fit a cascade, and print band, share and thresholds of each kind of input."""
    from harmguard.training.evaluate.cascade_fit import calibrate_cascade

    fit, notes = calibrate_cascade(
        args.bundle, args.cascade, args.labelled, args.out, bound=args.bound, threads=args.threads
    )
    for kind, found in fit.kinds.items():
        band = "none" if found.band is None else "{:.4f} to {:.4f}".format(*found.band)
        print(f"{kind} band {band}, {found.escalated:.1%} of {found.benign} benign rows go up")
        for name, value in found.thresholds.items():
            print(f"{kind} {name} {value:.4f}")
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    return 0
