"""`harmguard info`: what a guard is, and what is unknown about it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from harmguard.bundle import Manifest
from harmguard.bundle.spec import KINDS, CoremlRequires
from harmguard.core.text import printable
from harmguard.errors import PrepareError

if TYPE_CHECKING:
    from harmguard.bundle import Bundle

DESCRIPTION = "What a guard is: origin, licence, thresholds, precision, what is unknown."
EPILOG = """\
examples:
  harmguard info
  harmguard info --cache cache

"""


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument(
        "folder",
        nargs="?",
        metavar="FOLDER",
        help="its folder, or installed:NAME (default: the embedded mini guard)",
    )
    parser.add_argument(
        "--cache", type=Path, metavar="DIR", help="say what copy is prepared there, if any"
    )


def run(args: argparse.Namespace) -> int:
    """Print the manifest in words, and a note for everything that is missing."""
    from harmguard.bundle import open_bundle
    from harmguard.installed import guard_folder

    bundle = open_bundle(guard_folder(args.folder))
    for name, value in _lines(bundle.manifest):
        print(f"{name:<12} {printable(value)}")
    if args.cache is not None:
        print(f"{'prepared':<12} {printable(_prepared(bundle, args.cache))}")
    for note in notes(bundle.manifest):
        print(f"{'note':<12} {note}")
    return 0


def _prepared(bundle: Bundle, cache: Path) -> str:
    from harmguard.prepared.prepare import find

    try:
        copy = find(bundle, cache)
    except PrepareError as error:
        return f"no: {error}"
    tokenizer = "tokenizer not mapped" if copy.unmapped else "tokenizer mapped"
    return f"{copy.folder}, {copy.bytes:,} bytes, {tokenizer}"


def notes(manifest: Manifest) -> Iterator[str]:
    """One sentence for everything that a user should know before relying on the guard."""
    if manifest.status == "trial":
        yield "a trial: made to try the software, not to guard anything"
    if manifest.licence == "unknown":
        yield "licence unknown: ask whoever trained it before passing it on"
    if manifest.training_data is None:
        yield "training data unknown"
    for kind in KINDS:
        if manifest.thresholds[kind]["default"].rule == "uncalibrated":
            article = "an" if kind == "exchange" else "a"
            yield f"uncalibrated for {article} {kind}: the threshold was not chosen on data"
    if manifest.precision.parity is None:
        yield "parity not measured: its scores may differ from its checkpoint's"


def _requires(manifest: Manifest) -> str:
    requires = manifest.requires
    if isinstance(requires, CoremlRequires):
        return f"Core ML of {requires.deployment} (specification {requires.specification})"
    return f"opset {requires.opset}, onnxruntime {requires.onnxruntime}"


def _lines(manifest: Manifest) -> Iterator[tuple[str, str]]:
    yield "name", f"{manifest.name} {manifest.version} ({manifest.status})"
    yield "licence", manifest.licence
    yield "base model", manifest.base_model
    yield "recipe", manifest.training_recipe
    for source in manifest.training_data or ():
        rows = "unknown number of" if source.rows is None else f"{source.rows:,}"
        yield "trained on", f"{source.source}: {rows} rows, {source.licence}"
    yield (
        "input",
        f"windows of {manifest.input.max_tokens} tokens, texts up to "
        + (f"{manifest.input.max_chars:,} characters"),
    )
    yield "temperature", f"{manifest.output.temperature:g}"
    for kind in KINDS:
        for name, point in manifest.thresholds[kind].items():
            on = f" on {point.set}" if point.set else ""
            yield "threshold", f"{kind} {name} {point.value:.4f} ({point.rule}{on})"
    layers = len(manifest.precision.exceptions)
    yield "precision", manifest.precision.recipe + (f", {layers} exceptions" if layers else "")
    if manifest.precision.parity is not None:
        yield "parity", json.dumps(dict(manifest.precision.parity))
    yield "requires", _requires(manifest)
    if lengths := manifest.input.lengths:
        out = f", left out {', '.join(map(str, lengths.left_out))}" if lengths.left_out else ""
        shown = " to ".join if lengths.kind == "range" else ", ".join
        yield "lengths", shown(map(str, lengths.values)) + out
    for name, value in manifest.metrics.items():
        yield "metric", f"{name} {json.dumps(value)}"
    for name, entry in manifest.files.items():
        yield "file", f"{name}, {entry.size:,} bytes, sha256 {entry.sha256[:12]}"
