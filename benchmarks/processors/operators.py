"""The operators that a bundle's graph needs, as a reduced build of onnxruntime reads them.

    python -m benchmarks operators                  # the mini guard
    python -m benchmarks operators BUNDLE > operators.config
    build.sh ... --include_ops_by_config operators.config   # in onnxruntime's sources

A line a domain: domain;opset;operators. Operators of the graph as it is shipped, and those that
onnxruntime's optimisation on this machine makes of them. Needs the package onnx (extra `bench`).
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from benchmarks.harness.command import Script
from benchmarks.runtimes.onnx_models import nodes, options, session
from harmguard.bundle import EMBEDDED, open_bundle

_STANDARD = "ai.onnx"


def arguments(parser: argparse.ArgumentParser) -> None:
    """BUNDLE."""
    parser.add_argument("bundle", type=Path, nargs="?", default=EMBEDDED, help="default: mini")


def run(chosen: argparse.Namespace) -> int:
    """Print the configuration."""
    print(configuration(open_bundle(chosen.bundle).path("model.onnx")), end="")
    return 0


def configuration(model: Path) -> str:
    """The lines for an ONNX file, domains and operators in order."""
    import onnx

    with tempfile.TemporaryDirectory() as folder:
        optimised = Path(folder) / "model.onnx"
        chosen = options(1)
        chosen.optimized_model_filepath = str(optimised)
        chosen.add_session_config_entry(
            "session.optimized_model_external_initializers_file_name", "model.onnx.data"
        )
        session(model, chosen)
        models = [onnx.load(str(path), load_external_data=False) for path in (model, optimised)]
    opsets = {one.domain or _STANDARD: one.version for m in models[::-1] for one in m.opset_import}
    by: dict[str, set[str]] = {}
    for one in models:
        for node in nodes(one.graph):
            by.setdefault(node.domain or _STANDARD, set()).add(node.op_type)
    return "".join(f"{name};{opsets[name]};{','.join(sorted(by[name]))}\n" for name in sorted(by))


COMMAND = Script(__name__, arguments, run)
