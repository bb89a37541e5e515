"""Prepared copies: made once, by several processes, for one bundle and device."""

from __future__ import annotations

import fcntl
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from harmguard import HarmGuard
from harmguard.bundle import Bundle, open_bundle
from harmguard.cli import main
from harmguard.errors import BundleFileError, PrepareError, UnpreparedWarning
from harmguard.prepared import place
from harmguard.prepared import prepare as prepared
from harmguard.prepared.place import OWN
from harmguard.runtime import session

from .conftest import MINI
from .preparing import SCORE, TEXT, copies, edit, expected, found, without_copy

BundleMaker = Callable[..., Path]


@pytest.fixture
def folder(external_bundle: Path) -> Path:
    return external_bundle


# Made once, used from then on


def test_a_guard_makes_its_copy_and_gives_the_same_scores(any_bundle: Path, cache: Path) -> None:
    assert found(any_bundle, cache) == expected(any_bundle)
    (name,) = copies(cache)
    record = cache / OWN / name / prepared.RECORD
    before = record.stat()
    assert found(any_bundle, cache) == expected(any_bundle)
    assert record.stat().st_ino == before.st_ino, "a second guard must not write again"


def test_without_a_cache_there_is_nothing_to_say(folder: Path) -> None:
    with HarmGuard(folder, threads=1) as guard:
        assert guard.prepared is None
        assert guard.why_unprepared is None


# Several processes, and killed ones


def test_several_processes_at_once_make_one_copy(folder: Path, cache: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", SCORE, str(folder), str(cache)]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    outputs = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, outputs
    assert len({output for output, _ in outputs}) == 1, "the same copy and score everywhere"
    assert len(copies(cache)) == 1


PREPARE = """
import sys
from pathlib import Path
from harmguard.prepared.prepare import prepare
from harmguard.bundle import open_bundle
prepare(open_bundle(sys.argv[1]), Path(sys.argv[2]))
"""


@pytest.mark.parametrize("stage", ["model.onnx", "model.onnx.data"])
def test_a_killed_process_leaves_no_copy_and_the_next_one_cleans_up(
    stage: str, cache: Path
) -> None:
    if not (MINI / "guard.json").is_file():
        pytest.skip("no embedded guard in this checkout")
    process = subprocess.Popen([sys.executable, "-c", PREPARE, str(MINI), str(cache)])
    while process.poll() is None and not list(cache.glob(f"{OWN}/.*.part/{stage}")):
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it must have been under way"
    (left,) = copies(cache)
    assert left.startswith(".mini-")
    assert found(MINI, cache) == expected(MINI)
    (name,) = copies(cache)
    assert not name.startswith(".")


def test_waiting_for_another_process_ends(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, "LOCK_SECONDS", 0.1)
    (cache / OWN).mkdir(parents=True)
    with (cache / OWN / ".lock").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        without_copy(folder, cache, "another process has been preparing .* likely one that hangs")
    assert found(folder, cache) == expected(folder)


# Bundles that cannot be prepared


def test_a_graph_that_onnxruntime_cannot_load(make_bundle: BundleMaker, cache: Path) -> None:
    folder = make_bundle(operator="Swish")
    with (
        pytest.warns(UnpreparedWarning, match="onnxruntime cannot make the copy: model"),
        pytest.raises(BundleFileError, match="cannot be loaded"),
    ):
        HarmGuard(folder, cache=cache)
    assert copies(cache) == []


def test_a_copy_with_other_logits_is_refused(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if a release of onnxruntime wrote other weights than it had read."""
    right = session.save_prepared

    def wrong(bundle: Bundle, path: Path) -> None:
        right(bundle, path)
        data = path.with_name("model.onnx.data")
        data.write_bytes(bytes(data.stat().st_size))

    monkeypatch.setattr(session, "save_prepared", wrong)
    with pytest.raises(PrepareError, match=r"gives logits up to .* from the bundle's"):
        prepared.prepare(open_bundle(folder), cache)
    assert copies(cache) == []


# What a copy belongs to


def test_every_bundle_has_a_copy_of_its_own(
    folder: Path, make_bundle: BundleMaker, cache: Path
) -> None:
    other = make_bundle(version="2")
    assert found(folder, cache) == expected(folder)
    assert found(other, cache) == expected(other)
    assert len(copies(cache)) == 2


X86 = (
    "processor: 0\nvendor_id\t: AuthenticAMD\nmodel\t\t: 49\nmodel name\t: X\nflags\t: avx2 smep\n"
)
ARM = "processor: 0\nFeatures\t: asimd i8mm crc32\nCPU part\t: 0xd46\n\nCPU part\t: 0xd4d\n"


def test_processors_differ_by_design_and_vector_features(tmp_path: Path) -> None:
    def features(text: str) -> set[str]:
        path = tmp_path / "cpuinfo"
        path.write_text(text)
        return set(prepared.cpu_features(path).split(", "))

    here = features("")
    assert here == set(prepared.cpu_features(tmp_path / "none").split(", ")), "no procfs: no more"
    assert features(X86) - here == {"vendor_id AuthenticAMD", "model 49", "avx2"}
    assert features(ARM) - here == {"asimd", "i8mm", "CPU part 0xd46", "CPU part 0xd4d"}


def test_prepare_removes_copies_of_other_releases(
    folder: Path, make_bundle: BundleMaker, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = make_bundle(version="2")
    kept = prepared.prepare(open_bundle(other), cache).folder.name
    current = prepared.prepare(open_bundle(folder), cache).folder
    identity = json.loads((current / "prepared.json").read_text())["identity"]
    own, old = cache / OWN, "tiny-" + "0" * 16
    others = {"tiny-" + letter * 16: {"onnxruntime": "1.0"} for letter in "0g"}
    others |= {"tiny-" + "1" * 16: {"cpu": "arm"}, "tiny-old": {"onnxruntime": "1.0"}}
    for name, change in others.items():
        shutil.copytree(current, own / name)
        edit(own / name / "prepared.json", identity={**identity, **change})
    odd = "tiny-" + "2" * 16
    (own / odd).mkdir()
    (own / odd / "prepared.json").write_text("{")
    assert main(["prepare", str(folder), "--cache", str(cache)]) == 0
    assert f"removed    {own / old}, made by another release" in capsys.readouterr().out
    assert copies(cache) == sorted([current.name, kept, odd, *(others.keys() - {old})])


# The commands


def test_commands(folder: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(folder), "--cache", str(cache)]) == 0
    assert "prepared     no: no copy for this bundle and device" in capsys.readouterr().out
    assert main(["prepare", str(folder), "--cache", str(cache)]) == 0
    copy = cache / OWN / copies(cache)[0]
    size = sum(path.stat().st_blocks * 512 for path in copy.iterdir())
    first, second, _, third = capsys.readouterr().out.splitlines()
    assert first == f"prepared   {copy}"
    assert second.startswith(f"disk       {size:,} bytes, beside the bundle's ")
    assert third == f"use        HarmGuard(..., cache='{cache}')"
    assert main(["info", str(folder), "--cache", str(cache)]) == 0
    assert f"prepared     {copy}, {size:,} bytes, tokenizer not mapped\n" in capsys.readouterr().out
    one = ["--guard", str(folder), "--threads", "1", "--cache", str(cache), TEXT, "please"]
    assert main(["score", *one]) == 0
    assert capsys.readouterr().out == f"{expected(folder):.4f}\n"
    assert len(copies(cache)) == 1


def test_prepare_fails_where_nothing_can_be_written(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main(["prepare", str(folder), "--cache", str(tmp_path / "file")]) == 3
    assert "harmguard: PrepareError: no copy for this bundle" in capsys.readouterr().err


def test_the_default_cache_is_the_systems(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert main(["prepare", str(folder)]) == 0
    assert found(folder, tmp_path / "harmguard") == expected(folder)
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert prepared.default_cache().is_relative_to(Path.home())
