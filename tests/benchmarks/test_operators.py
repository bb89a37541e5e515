from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from benchmarks.harness.results import ROOT
from benchmarks.processors import operators
from harmguard.bundle import EMBEDDED


def test_every_operator_of_the_graph_is_listed(
    tiny_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert operators.COMMAND.main([str(tiny_bundle)]) == 0
    lines = [line.split(";") for line in capsys.readouterr().out.splitlines()]
    assert [line[:2] for line in lines] == [["ai.onnx", "18"], ["com.microsoft", "1"]]
    listed = {name for line in lines for name in line[2].split(",")}
    graph = onnx.load(str(tiny_bundle / "model.onnx"), load_external_data=False).graph
    # A constant of the graph, and what reads it, may be gone after its optimisation.
    assert {node.op_type for node in graph.node} <= listed


def test_the_documentation_lists_what_the_mini_guard_needs() -> None:
    said = (ROOT / "docs" / "portability.md").read_text(encoding="utf-8")
    graph = onnx.load(str(EMBEDDED / "model.onnx"), load_external_data=False).graph
    section = said.split("## A small build of onnxruntime")[1]
    lines = [line.split(";") for line in section.splitlines() if line.count(";") == 2]
    listed = {(domain, name) for domain, _, names in lines for name in names.split(",")}
    assert {(node.domain or "ai.onnx", node.op_type) for node in graph.node} <= listed
