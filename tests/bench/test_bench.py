"""`harmguard bench` on a tiny guard: every part, its failures, its table and its picture."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from harmguard.bench import fresh_processes, markdown, picture, run, small_device
from harmguard.bench.memory import Memory
from harmguard.bench.results import STATES, STEPS
from harmguard.bench.run import Settings
from harmguard.cli import main
from harmguard.errors import (
    BenchError,
    BundleFileError,
    GoldenMismatchError,
    MemoryUnreadableError,
    OutputExistsError,
    TooFewSamplesError,
)
from tests.runtime.conftest import BundleMaker

KEYS = {"machine", "bundle", "latency_ms", "memory_mb", "startup_s", "throughput"}
LINUX = sys.platform == "linux"


@pytest.fixture(scope="module")
def measured(small_bundle: Path) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("STARTS", 1), ("BATCH", 2), ("BULK_PAIRS", 8)):
            patch.setattr(run, name, value)
        said: list[str] = []
        result = run.measure(Settings(small_bundle, threads=2, samples=10), said.append)
        assert said[0].startswith("golden")
    return json.loads(json.dumps(result, allow_nan=False))


def test_every_part_is_there(measured: Any) -> None:
    assert set(measured) == KEYS
    assert run.failures(measured) == []
    threads = measured["latency_ms"]["threads"]
    assert list(threads) == ["1", "2"]
    for by in threads.values():
        assert list(by) == ["16", "32", "64"]
        for cell in by.values():
            assert cell["n"] == 10
            assert 0 < cell["median"] <= cell["p90"]
            assert cell["p99"] is None
    assert measured["throughput"]["score_many_pairs_per_s"] > 0
    start = measured["startup_s"]
    parts = sum(start[step]["median"] for step in STEPS if step != "total")
    assert start["total"]["median"] == pytest.approx(parts)
    assert measured["bundle"]["golden"]["rows"] == 1


@pytest.mark.skipif(not LINUX, reason="only Linux tells all of it")
def test_memory_of_every_state(measured: Any) -> None:
    for state in STATES:
        found = measured["memory_mb"][state]
        assert 1 < found["anonymous"] <= found["peak_anonymous"] < found["peak"]
        assert found["file"] > 1
        assert found["pss"] > 1
    assert measured["memory_mb"]["load"]["file"] > measured["memory_mb"]["import"]["file"] / 2


@pytest.mark.skipif(not LINUX, reason="only Linux limits private memory without privileges")
def test_the_small_device_has_one_core_and_a_limit(measured: Any) -> None:
    small = measured["latency_ms"]["small_device"]
    assert (small["cores"], small["limited"]) == (1, True)
    stated = measured["memory_mb"]["batch"]["peak_anonymous"]
    assert small["limit_mb"] == pytest.approx(1.25 * stated, abs=0.1)
    assert list(small["tokens"]) == ["32"]


@pytest.mark.skipif(not LINUX, reason="only Linux limits private memory without privileges")
def test_too_little_memory_is_an_error_and_not_a_figure(small_bundle: Path) -> None:
    pair = ("the bread", "the question")
    with pytest.raises(BenchError, match=r"a fresh process \(small\) (failed|ended with)"):
        fresh_processes.small_device(small_bundle, 1.0, [pair, pair], {16: pair}, 1)


def test_a_process_that_fails_says_why() -> None:
    with pytest.raises(BenchError, match=r"\(start\) failed: BundleNotFoundError: no folder"):
        fresh_processes.starts(Path("no/such/folder"), 1, ("a", "b"), 1)


def test_unknown_memory_sets_no_limit(small_bundle: Path) -> None:
    pair = ("the bread", "the question")
    found = fresh_processes.small_device(small_bundle, None, [pair], {16: pair}, 2)
    assert (found["limit_mb"], found["limited"]) == (None, False)
    assert found["tokens"]["16"]["n"] == 2


def test_no_limit_on_other_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert small_device.limit_memory(1.0) is False


def test_a_process_that_may_not_see_its_memory_is_named(
    small_bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    patch = """
import pathlib
read = pathlib.Path.read_text
def refuse(self, *args, **kwargs):
    if self.name == "status":
        raise PermissionError(13, "Permission denied")
    return read(self, *args, **kwargs)
pathlib.Path.read_text = refuse
"""
    (tmp_path / "sitecustomize.py").write_text(patch)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    if not LINUX:
        pytest.skip("procfs is Linux's")
    pair = ("the bread", "the question")
    with pytest.raises(MemoryUnreadableError, match="no permission to read /proc/self/status"):
        fresh_processes.memory(small_bundle, 1, pair, pair, 1)


def test_a_part_that_fails_is_named_and_the_rest_is_kept(
    small_bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in (("STARTS", 1), ("BATCH", 2), ("BULK_PAIRS", 8), ("CELL_S", 0.0)):
        monkeypatch.setattr(run, name, value)

    def refuse(*_: object) -> dict[str, dict[str, float | None]]:
        raise MemoryUnreadableError("no permission")

    monkeypatch.setattr(fresh_processes, "memory", refuse)
    assert main(["bench", str(small_bundle), "--json", "--samples", "10", "--threads", "1"]) == 3
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert set(found) == KEYS
    assert found["memory_mb"] == {"error": "MemoryUnreadableError: no permission"}
    assert found["latency_ms"]["threads"]["1"]["16"]["error"].startswith("TooFewSamplesError: 0 c")
    assert found["startup_s"]["total"]["n"] == 1
    assert found["machine"]["noise"] == {"bound": 0.25, "worst_spread": None, "noisy": False}
    assert "harmguard: MemoryUnreadableError: no permission" in err
    text = markdown.text(found)
    assert "Memory, MB\n\nMemoryUnreadableError: no permission" in text
    assert "too few samples" in text
    assert text.endswith("Noise: unknown, no latency was measured.")


def test_any_error_and_the_keyboard_leave_what_was_measured(
    small_bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in (("STARTS", 1), ("BULK_PAIRS", 8)):
        monkeypatch.setattr(run, name, value)

    def fail(self: object) -> None:
        raise RuntimeError("no room for 7 bytes")

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run._Work, "throughput", fail)
    monkeypatch.setattr(fresh_processes, "starts", stop)
    assert main(["bench", str(small_bundle), "--json", "--samples", "10", "--threads", "1"]) == 3
    found = json.loads(capsys.readouterr().out)
    assert set(found) == KEYS
    assert found["latency_ms"]["threads"]["1"]["16"]["n"] == 10
    assert found["throughput"] == {"error": "BenchError: RuntimeError: no room for 7 bytes"}
    assert found["startup_s"] == {"error": "BenchError: stopped from the keyboard"}
    assert found["memory_mb"] == {"error": "BenchError: not begun: stopped from the keyboard"}
    assert found["latency_ms"]["small_device"] == found["memory_mb"]


def test_errors_before_anything_is_timed(
    make_bundle: BundleMaker, small_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "no/such/folder"]) == 3
    assert "BundleNotFoundError: no folder at 'no/such/folder'" in capsys.readouterr().err
    assert main(["bench", str(small_bundle), "--samples", "9"]) == 3
    assert "TooFewSamplesError: 9 samples; expected at least 10" in capsys.readouterr().err
    with pytest.raises(TooFewSamplesError):
        Settings(small_bundle, 1, 5)


def test_golden_pairs_are_replayed_first(make_bundle: BundleMaker) -> None:
    def golden(row: str) -> Path:
        return make_bundle(golden=row)

    broken = golden("not JSON\n")
    with pytest.raises(BundleFileError, match=r"golden.jsonl, row 1: not JSON at character 0"):
        run.measure(Settings(broken, 1, 10), print)
    row = {"prompt": "a", "response": None, "ids": [[2, 15, 4]], "logits": [[0.0, 0.0]]}
    other = golden(json.dumps({**row, "score": 0.5, "tolerance": 0.4}) + "\n")
    with pytest.raises(GoldenMismatchError, match=r"golden.jsonl, row 1: token id"):
        run.measure(Settings(other, 1, 10), print)


def test_scores_must_not_depend_on_threads() -> None:
    run._check_same({1: [0.5, 0.7], 2: [0.5, 0.7005]})
    run._check_same({1: [0.5]})
    with pytest.raises(BenchError, match=r"scores differ by up to 0\.1000 between numbers of thr"):
        run._check_same({1: [0.5], 2: [0.6]})


def test_noise_is_said() -> None:
    def latency(spread: float) -> Any:
        return {"threads": {"1": {"16": {"spread": 0.1}, "32": {"spread": spread}}}}

    quiet, loud = run.noise(latency(0.2)), run.noise(latency(0.3))
    assert markdown.noise(quiet) == "Noise: the largest spread is 20%; up to 25% is quiet enough."
    assert markdown.noise(loud).startswith("TOO NOISY: the largest spread is 30%, above 25%")
    assert run.noise({"error": "BenchError: no"})["noisy"] is False


def test_what_is_unknown_is_said_to_be(measured: Any) -> None:
    machine: Any = {**measured["machine"], "cpu": None, "features": None, "memory_mb": None}
    assert markdown.machine(machine).startswith("unknown (unknown), ")
    assert "unknown MB of memory" in markdown.machine(machine)
    some: Any = {**machine, "features": ["avx2"], "features_asked": ["avx", "avx2"]}
    assert "(avx2; asked for avx, avx2 only, all others are unknown)" in markdown.machine(some)
    nothing: Any = {state: dict.fromkeys(asdict(Memory())) for state in STATES}
    found: Any = {state: {**kinds, "peak_anonymous": None} for state, kinds in nothing.items()}
    rows = markdown.memory(found | {"long_tokens": 61, "batch_pairs": 2})
    assert rows.count("unknown") == 5 * len(STATES)


def test_tables_have_as_many_cells_in_every_row(measured: Any) -> None:
    for part in markdown.text(measured).split("\n\n"):
        lines = [line for line in part.splitlines() if line.startswith("|")]
        assert len({len(line) for line in lines}) <= 1, part


@pytest.mark.parametrize("suffix", picture.SUFFIXES)
def test_picture(measured: Any, tmp_path: Path, suffix: str) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / f"bench{suffix}"
    picture.check(path)
    picture.draw(measured, path)
    if suffix == ".svg":
        assert ElementTree.parse(path).getroot().tag.endswith("svg")
    else:
        assert path.read_bytes().startswith(b"\x89PNG")
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    with pytest.raises(OutputExistsError, match="expected a new path; nothing is overwritten"):
        picture.check(path)


def test_picture_of_failed_parts(measured: Any, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    failed = {"error": "BenchError: no"}
    result: Any = {
        **measured,
        "memory_mb": failed,
        "latency_ms": {**failed, "small_device": failed},
    }
    picture.draw(result, tmp_path / "bench.svg")
    assert (tmp_path / "bench.svg").exists()


def test_picture_of_another_kind() -> None:
    with pytest.raises(BenchError, match=r"picture 'bench.gif': unknown suffix; expected one of"):
        picture.check(Path("bench.gif"))


def test_text_is_what_the_command_prints(
    measured: Any,
    small_bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(run, "measure", lambda plan, say: measured)
    assert main(["bench", str(small_bundle)]) == 0
    assert capsys.readouterr().out == markdown.text(measured) + "\n"


@pytest.mark.slow
def test_examples_of_help_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["bench", "--help"]) == 0
    section = capsys.readouterr().out.split("examples:\n")[1].split("\n\n")[0]
    for line in section.splitlines():
        command, _, _ = line.strip().removeprefix("harmguard ").partition(" > ")
        assert main(shlex.split(command)) == 0
        assert capsys.readouterr().out
    assert (tmp_path / "bench.svg").exists()
