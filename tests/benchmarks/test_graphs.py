from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.harness.errors import BenchmarkDataError
from benchmarks.performance import graphs


def test_a_line_for_each_length(tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tiny_bundle / "model.onnx"
    named = [f"one={model}", f"two={model}"]
    short = ["--tokens", "4,9", "--calls", "2", "--threads", "1", "--ids", "5,9"]
    assert graphs.COMMAND.main([*named, *short]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    expected = r"9 tokens, 1 threads: one [\d.]+ ms \(x1.000\), two [\d.]+ ms \(x[\d.]+\)"
    assert re.fullmatch(expected, lines[1])


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(BenchmarkDataError, match="expected NAME=FILE"):
        graphs.COMMAND.main(["old=nowhere.onnx"])
