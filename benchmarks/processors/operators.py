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
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.performance._peak import options
from harmguard.bundle import EMBEDDED, open_bundle
from harmguard.runtime.session import ort

_STANDARD = "ai.onnx"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the configuration."""
    made = argparse.ArgumentParser(prog="python -m benchmarks operators", description=__doc__)
    made.formatter_class = argparse.RawDescriptionHelpFormatter
    made.add_argument("bundle", type=Path, nargs="?", default=EMBEDDED, help="default: mini")
    model = open_bundle(made.parse_args(arguments).bundle).path("model.onnx")
    print(configuration(model), end="")
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
        ort.InferenceSession(str(model), chosen, providers=["CPUExecutionProvider"])
        models = [onnx.load(str(path), load_external_data=False) for path in (model, optimised)]
    opsets = {one.domain or _STANDARD: one.version for m in models[::-1] for one in m.opset_import}
    found: dict[str, set[str]] = {}
    for one in models:
        for domain, operator in _operators(one.graph):
            found.setdefault(domain, set()).add(operator)
    lines = [f"{name};{opsets[name]};{','.join(sorted(found[name]))}\n" for name in sorted(found)]
    return "".join(lines)


def _operators(graph: Any) -> Iterator[tuple[str, str]]:
    """Domain and name of every node, those of bodies included."""
    for node in graph.node:
        yield node.domain or _STANDARD, node.op_type
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _operators(attribute.g)


if __name__ == "__main__":
    raise SystemExit(main())
