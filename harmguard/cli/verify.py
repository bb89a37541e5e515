"""`harmguard verify`: every file hashed, every golden pair replayed."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harmguard.bundle import Bundle
    from harmguard.verify import Scorer

DESCRIPTION = "Check that a guard is whole, and that this machine gives its scores."
EPILOG = """\
Files of 64 MB or more are otherwise hashed at every load; verify records in the folder
(guard.verified.json) that they were, and the record is trusted while size and time of change
hold. After copying a large guard run verify once: it then starts faster.

examples:
  harmguard verify

"""


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument(
        "folder",
        nargs="?",
        metavar="FOLDER",
        help="its folder, or installed:NAME (default: the embedded mini guard)",
    )


def run(args: argparse.Namespace) -> int:
    """Verify and say what was checked; a failure is an error."""
    from harmguard.installed import guard_folder
    from harmguard.verify import verify

    report = verify(guard_folder(args.folder), _package_scorer)
    print(f"files    {report.files} with {report.bytes:,} bytes, all as the manifest says")
    scores = (
        f"scores within {report.worst:.4f} of the reference (tolerance {report.tolerance:g})"
        if report.unchecked is None
        else f"scores NOT checked: {report.unchecked}"
    )
    print(f"golden   {report.rows} pairs, token ids equal, {scores}")
    if report.recorded is False:
        print("record   not written (folder is read-only): large files are hashed at every load")
    return 0


def _package_scorer(bundle: Bundle) -> Scorer:
    from harmguard_export.coreml.package_scorer import PackageScorer

    return PackageScorer(bundle)
