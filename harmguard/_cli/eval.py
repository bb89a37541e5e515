"""`harmguard eval`: how good a guard is on labelled rows."""

from __future__ import annotations

import argparse
from pathlib import Path

_EXAMPLES = """examples:
  harmguard eval guards/mini val.jsonl.gz --out mini-on-val
  harmguard eval checkpoints/student test.csv --threshold 0.4
"""


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "eval",
        help="F1, AUPRC and more of a bundle or a checkpoint on labelled rows",
        description="Score labelled files and report F1, AUPRC, AUROC, precision, recall, false "
        "alarms and calibration: per source, macro, pooled, and by length. Prints the report; "
        "with --out also writes it as JSON and Markdown, with pictures and the scores.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("guard", type=Path, help="folder of a bundle or of a checkpoint")
    parser.add_argument(
        "data", type=Path, nargs="+", help=".jsonl, .jsonl.gz or .csv files, every row labelled"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="new folder for the report")
    parser.add_argument(
        "--threshold",
        default="default",
        metavar="T",
        help="a number, or an operating point of the bundle (default: %(default)s; .5 for a "
        "checkpoint)",
    )
    parser.add_argument("--threads", type=int, metavar="N", help="threads of a bundle")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Evaluate, print the report, and write it where asked."""
    from harmguard.training.evaluate import check_new, markdown, write_report
    from harmguard.training.scoring import evaluate_guard

    if args.out is not None:
        check_new(args.out)
    rows, report = evaluate_guard(
        args.guard, args.data, threshold=args.threshold, threads=args.threads
    )
    print(markdown(report))
    if args.out is not None:
        write_report(args.out, rows, report)
    return 0
