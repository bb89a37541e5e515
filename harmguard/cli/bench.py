"""`harmguard bench`: what a guard costs on this machine."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from harmguard.cli._guard_arguments import positive

DESCRIPTION = "Latency, throughput, start-up and memory of a guard on this machine."
EPILOG = """\
Latency (median, p90, p99) by length with one thread and with N, throughput, start-up, memory, and
a run on one core within the memory that was measured and a quarter. First the golden pairs are
replayed: nothing is timed that does not compute what the bundle says. Run it on a machine that
does nothing else; it says when the spread was too large. What the system does not tell is
"unknown" (null with --json). A part that fails is named, the rest is printed, and the exit code
is 3. Nothing else of the machine is changed, and nothing is sent anywhere.

examples:
  harmguard bench
  harmguard bench --json --samples 10 > bench.json
  harmguard bench --threads 1 --samples 20 --picture bench.svg

"""


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument(
        "folder",
        nargs="?",
        metavar="BUNDLE",
        help="its folder, or installed:NAME (default: the embedded mini guard)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    parser.add_argument(
        "--picture", type=Path, metavar="FILE", help="a new .svg or .png (extra: bench)"
    )
    parser.add_argument(
        "--samples",
        type=positive,
        default=100,
        metavar="N",
        help="timings per length (default: 100)",
    )
    parser.add_argument(
        "--threads",
        type=positive,
        metavar="N",
        help="threads beside 1 (default: the cores that this process may use, at most 4)",
    )


def run(args: argparse.Namespace) -> int:
    """Measure and print; 3 if a part failed."""
    from harmguard.bench import markdown, picture
    from harmguard.bench.run import Settings, failures, measure
    from harmguard.core.cores import default_threads
    from harmguard.installed import guard_folder

    settings = Settings(guard_folder(args.folder), args.threads or default_threads(), args.samples)
    if args.picture is not None:
        picture.check(args.picture)
    result = measure(settings, lambda message: print(message, file=sys.stderr, flush=True))
    print(json.dumps(result, allow_nan=False) if args.json else markdown.text(result))
    if args.picture is not None:
        picture.draw(result, args.picture)
    failed = failures(result)
    for error in failed:
        print(f"harmguard: {error}", file=sys.stderr)
    return 3 if failed else 0
