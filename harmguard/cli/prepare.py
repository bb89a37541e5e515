"""`harmguard prepare`: a copy of a guard for this device, its weights packed and mapped."""

from __future__ import annotations

import argparse
from pathlib import Path

DESCRIPTION = "Make, or find, the copy of a guard that is prepared for this device."
EPILOG = """\
The copy holds the weights twice, as the bundle has them and as this processor's kernels take
them, both mapped from disk: a guard that uses it needs far less memory and starts faster, and its
scores are the same. It belongs to this bundle, processor and release of onnxruntime; after a
change of any of them a guard makes a new one, and prepare also removes those of other releases.
Give the same folder to HarmGuard(..., cache=FOLDER), or to score and check as --cache.

Large files of the bundle are hashed, and in a folder that can be written to that is recorded, as
verify does it.

examples:
  harmguard prepare --cache cache

"""


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument(
        "folder",
        nargs="?",
        metavar="BUNDLE",
        help="its folder, or installed:NAME (default: the embedded mini guard)",
    )
    parser.add_argument(
        "--cache",
        type=Path,
        metavar="DIR",
        help="where copies are kept (default: harmguard in the user's cache folder)",
    )


def run(args: argparse.Namespace) -> int:
    """Prepare, and say where the copy is and what it takes."""
    from harmguard.bundle import open_and_record
    from harmguard.core.text import printable
    from harmguard.installed import guard_folder
    from harmguard.prepared.prepare import default_cache, prepare, remove_stale

    bundle, _ = open_and_record(guard_folder(args.folder))
    copy = prepare(bundle, args.cache or default_cache())
    size = sum(entry.size for entry in bundle.manifest.files.values())
    print(f"prepared   {printable(str(copy.folder))}")
    print(f"disk       {copy.bytes:,} bytes, beside the bundle's {size:,}")
    print(f"tokenizer  {f'held in memory: {copy.unmapped}' if copy.unmapped else 'mapped'}")
    print(f"use        HarmGuard(..., cache={str(copy.folder.parent.parent)!r})")
    for folder in remove_stale(bundle, copy):
        print(f"removed    {printable(str(folder))}, made by another release")
    return 0
