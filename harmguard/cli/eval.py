"""`harmguard eval`: how good a guard is on labelled rows."""

from __future__ import annotations

import argparse
from pathlib import Path

from harmguard.cli._guard_arguments import positive

DESCRIPTION = (
    "Score labelled files and report F1, AUPRC, AUROC, precision, recall, false "
    "alarms and calibration: per source, macro, pooled, and by length. Prints the report; "
    "with --out also writes it as JSON and Markdown, with pictures and the scores."
)
EPILOG = """\
examples:
  harmguard eval guards/mini val.jsonl.gz --out mini-on-val
  harmguard eval checkpoints/student test.csv --threshold 0.4
  harmguard eval guards/mini --suite harmaug --data sets

"""


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument(
        "guard", type=Path, help="folder of a bundle or of a checkpoint, or hub:owner/name"
    )
    parser.add_argument(
        "files",
        type=Path,
        nargs="*",
        help=".jsonl, .csv (both also .gz) or .parquet files, every row labelled",
    )
    parser.add_argument(
        "--suite",
        choices=["harmaug"],
        help="instead of files: the public sets of the HarmAug paper, and XSTest, at .5",
    )
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder of the suite's files")
    parser.add_argument("--out", type=Path, metavar="DIR", help="new folder for the report")
    parser.add_argument(
        "--threshold",
        metavar="T",
        help="with files: a number, or an operating point of the bundle (default: default; .5 "
        "for a checkpoint)",
    )
    parser.add_argument("--threads", type=positive, metavar="N", help="threads of a bundle")
    parser.add_argument(
        "--harmful",
        metavar="NAME",
        help="the harmful label of a checkpoint, where the names of its labels do not say it",
    )
    parser.add_argument(
        "--precision",
        choices=["fp32", "auto"],
        default="fp32",
        help="of a checkpoint's products; auto: bfloat16 where this machine is faster in it "
        "(default: fp32)",
    )
    parser.set_defaults(usage_error=parser.error)


def run(args: argparse.Namespace) -> int:
    """Evaluate, print the report, and write it where asked."""
    suite = args.suite is not None
    if bool(args.files) is suite or (args.data is not None) is not suite:
        args.usage_error("expected files, or --suite with --data")
    if suite and args.threshold is not None:
        args.usage_error("--threshold is for files; --suite is at .5, as the paper's figures are")
    from harmguard.core.files import refuse_existing
    from harmguard.training.evaluate.report import markdown, write_report
    from harmguard.training.evaluate.scoring import evaluate_guard, evaluate_rows
    from harmguard.training.evaluate.suites import load_suite, table

    if args.out is not None:
        refuse_existing(args.out)
    if suite:
        sets = load_suite(args.data)
        rows, report = evaluate_rows(
            args.guard,
            sets,
            threshold="0.5",
            threads=args.threads,
            harmful=args.harmful,
            precision=args.precision,
        )
        print(table(report))
    else:
        rows, report = evaluate_guard(
            args.guard,
            args.files,
            threshold="default" if args.threshold is None else args.threshold,
            threads=args.threads,
            harmful=args.harmful,
            precision=args.precision,
        )
        print(markdown(report))
    if args.out is not None:
        write_report(args.out, rows, report)
    return 0
