"""benchmarks.processors.portability, with this machine's Python in the emulators' place."""

from __future__ import annotations

import argparse
import base64
import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.harness.errors import ScoresDifferError, WorkerError
from benchmarks.harness.results import ROOT
from benchmarks.processors import _emulated, portability
from harmguard.bundle import open_bundle
from tests.benchmarks.conftest import row_of

SAME = f"same={shlex.quote(sys.executable)}"


@pytest.fixture(autouse=True)
def no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HARMGUARD_DATA", raising=False)


def test_the_same_processor_gives_the_same(
    needle_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "portability.json"
    arguments = [str(needle_bundle), "--quick", "--out", str(out), "--cpu", SAME]
    assert portability.COMMAND.main(arguments) == 0
    text = out.read_text(encoding="utf-8")
    result = json.loads(text)
    assert result["passed"]
    assert [pair["from"] for pair in result["pairs"]].count("benign") >= 1
    assert len(result["pairs"]) == portability.QUICK_PAIRS
    assert list(result["cpus"]) == ["native", "same"]
    same = result["cpus"]["same"]
    assert same["versions"] == result["cpus"]["native"]["versions"]
    assert same["runs"]["plain"]["difference"] == {"max": 0.0, "mean": 0.0}
    assert sys.executable not in text
    table = capsys.readouterr().out
    assert re.search(r"\| same \(.+\) +\| +0\.00000 \| 0\.00000 \| +0 \| +0 \|", table)
    assert table.strip() == portability.tables(result)


def test_a_processor_that_is_off_fails_the_command(needle_bundle: Path, tmp_path: Path) -> None:
    # A Python whose guard adds .03 to every score, as a kernel that saturates might.
    other = tmp_path / "other"
    shift = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); from harmguard import HarmGuard; "
        "score = HarmGuard.score; "
        "HarmGuard.score = lambda *a: score(*a) + .03; exec(sys.argv.pop())"
    )
    quoted = shlex.quote(sys.executable)
    other.write_text(f'#!/bin/sh\nexec {quoted} -c {shlex.quote(shift)} "$2"\n')
    other.chmod(0o755)
    out = tmp_path / "portability.json"
    arguments = [str(needle_bundle), "--quick", "--out", str(out), "--cpu", f"off={other}"]
    with pytest.raises(ScoresDifferError, match=r"^off: scores differ by 0\.0300, 0 far flips; ex"):
        portability.COMMAND.main(arguments)
    assert not json.loads(out.read_text(encoding="utf-8"))["passed"]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("no-such-emulator",), r"^arm: no-such-emulator did not run \(FileNotFoundError\); expec"),
        (
            ("sh", "-c", "echo no such CPU >&2; exit 3"),
            r"^arm: sh -c .+ gave no scores, exit status 3 \(no such CPU\); expected a Python",
        ),
    ],
)
def test_an_emulator_that_does_not_work(command: tuple[str, ...], message: str) -> None:
    with pytest.raises(WorkerError, match=message):
        portability.ask(portability.Cpu("arm", command), {"pairs": []})


def test_a_processor_that_fails_leaves_the_others_results(
    needle_bundle: Path, tmp_path: Path
) -> None:
    out = tmp_path / "portability.json"
    arguments = [str(needle_bundle), "--quick", "--out", str(out), "--cpu", "arm=no-such-emulator"]
    with pytest.raises(WorkerError, match=r"^arm: no-such-emulator did not run"):
        portability.COMMAND.main([*arguments, "--cpu", SAME])
    result = json.loads(out.read_text(encoding="utf-8"))
    assert list(result["cpus"]) == ["native", "same"]
    assert not result["passed"]


def test_flips_count_at_every_operating_point(needle_bundle: Path) -> None:
    points = open_bundle(needle_bundle).manifest.thresholds
    assert {name: point.value for name, point in points["prompt"].items()} == {
        "default": 0.5,
        "fpr_1": 0.9,
    }
    pairs = [
        portability.PairOf({"from": "golden", "kind": "prompt", "score": score})
        for score in (0.495, 0.85, 0.2)
    ]
    found = portability.compared(open_bundle(needle_bundle), pairs, [0.505, 0.95, 0.2])
    assert (found["flips"], found["far_flips"]) == (2, 1)
    assert found["difference"]["max"] == pytest.approx(0.1)
    cpus: Any = {"a": {"runs": {"plain": found}}}
    assert portability.missed_limits(cpus) == ["a: scores differ by 0.1000, 1 far flips"]


def test_a_score_that_is_no_number_misses_the_limit(needle_bundle: Path) -> None:
    pairs = [portability.PairOf({"from": "golden", "kind": "prompt", "score": 0.2})]
    found = portability.compared(open_bundle(needle_bundle), pairs, [float("nan")])
    cpus: Any = {"a": {"runs": {"plain": found}}}
    assert portability.missed_limits(cpus)


def test_rows_near_the_threshold_come_first(needle_bundle: Path) -> None:
    long = "danger " * 200
    rows = [
        row_of("bread", None, 0, "made"),
        row_of("danger", None, 1, "made"),
        row_of(long, None, 1, "m"),
    ]
    # At 0.5 both scores are as far, at 0.6 (exchanges) the needle's is nearer.
    answers = [row_of(row.prompt, "kind", row.label, "made") for row in rows]
    assert portability.nearest(open_bundle(needle_bundle), answers, 1) == [("danger", "kind")]
    assert len(portability.nearest(open_bundle(needle_bundle), rows, 9)) == 2


def test_the_probe_is_exact_where_the_option_is_set() -> None:
    probe = base64.b64encode(portability.saturating_model()).decode()
    mini = str(ROOT / "harmguard" / "models" / "mini")
    reply = _emulated.answer(mini, [["Hello", None]], 1, probe)
    # A processor with VNNI, or ARM, is exact without it as well; one without is half right.
    assert set(reply["runs"]) <= {"plain", "precise"}
    assert reply["runs"]["plain"]["probe"] in (1, pytest.approx(0.506, abs=1e-3))
    if "precise" in reply["runs"]:
        assert reply["runs"]["precise"]["probe"] == 1
        scores = [run["scores"] for run in reply["runs"].values()]
        np.testing.assert_allclose(scores[0], scores[1], atol=1e-6)


@pytest.mark.parametrize("text", ["", "qemu", "=qemu", "arm=", "native=qemu"])
def test_a_processor_needs_a_name_and_a_command(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r"is not NAME=COMMAND"):
        portability.cpu(text)


def test_commands_are_shown_without_folders() -> None:
    one = portability.cpu('arm="/some where/qemu" -cpu max,sme=off /a/python')
    assert one.command == ("/some where/qemu", "-cpu", "max,sme=off", "/a/python")
    assert portability.shown(one.command) == "qemu -cpu max,sme=off python"
