"""Prepared copies that are damaged, and places that cannot be used."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harmguard.bundle import open_bundle
from harmguard.errors import PrepareError
from harmguard.prepared import prepare as prepared

from .conftest import MINI
from .preparing import SCORE, copies, edit, expected, flip, found, without_copy


@pytest.fixture
def folder(external_bundle: Path) -> Path:
    return external_bundle


# Damaged copies are made again


def link(path: Path) -> None:
    other = path.rename(path.with_name("elsewhere"))
    path.symlink_to(other)


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a flipped bit": (lambda copy: flip(copy / "model.onnx.data"), "has sha256"),
    "a cut file": (lambda copy: os.truncate(copy / "model.onnx", 9), "has 9 bytes"),
    "a lost file": (lambda copy: (copy / "model.onnx.data").unlink(), "data is missing"),
    "a link": (lambda copy: link(copy / "model.onnx"), "symbolic link"),
    "no record": (lambda copy: (copy / "prepared.json").unlink(), r"prepared\.json cannot be"),
    "half a record": (lambda copy: os.truncate(copy / "prepared.json", 40), "cannot be read"),
    "a list": (lambda copy: (copy / "prepared.json").write_text("[]"), "cannot be read"),
    "odd files": (lambda copy: edit(copy / "prepared.json", files=[]), "belongs to another"),
    "odd entries": (
        lambda copy: edit(copy / "prepared.json", files={"model.onnx": 1}), "cannot be read",
    ),
    "another's": (lambda copy: edit(copy / "prepared.json", identity={}), "belongs to another"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_copy_is_made_again(name: str, folder: Path, cache: Path) -> None:
    damage, match = DAMAGES[name]
    copy = prepared.prepare(open_bundle(folder), cache)
    damage(copy.folder)
    with pytest.raises(PrepareError, match=match):
        prepared.find(open_bundle(folder), cache)
    assert found(folder, cache) == expected(folder)
    assert copies(cache) == [copy.folder.name]


def test_large_files_are_trusted_while_size_and_time_hold(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harmguard.bundle.content.HASHED_AT_LOAD_BYTES", 1)
    opened = open_bundle(folder)
    data = prepared.prepare(opened, cache).folder / "model.onnx.data"
    times = data.stat().st_atime_ns, data.stat().st_mtime_ns
    flip(data)
    with pytest.raises(PrepareError, match="has sha256"):
        prepared.find(opened, cache)
    os.utime(data, ns=times)
    prepared.find(opened, cache)


# Places that cannot be used


def test_a_disk_that_cannot_be_written_to(
    folder: Path, tmpfs: Callable[[str], Path], tmp_path: Path
) -> None:
    cache = tmpfs("size=4m")
    remount = ["mount", "-o", "remount,ro", str(cache)]
    subprocess.run(remount, check=True)
    match = "no copy for this bundle .*cannot be written: Read-only file system; expected a folder"
    without_copy(folder, cache, match)
    subprocess.run([*remount[:2], "remount,rw", str(cache)], check=True)
    copy = prepared.prepare(open_bundle(folder), cache)
    subprocess.run(remount, check=True)
    assert found(folder, cache) == expected(folder), "a whole copy needs no writing"
    subprocess.run([*remount[:2], "remount,rw", str(cache)], check=True)
    flip(copy.folder / "model.onnx.data")
    subprocess.run(remount, check=True)
    without_copy(folder, cache, "is damaged: model.onnx.data has sha256 .*Read-only file system")


@pytest.mark.skipif(os.geteuid() == 0, reason="no permission stops root")
def test_a_folder_that_may_not_be_written_to(folder: Path, cache: Path) -> None:
    cache.mkdir(mode=0o555)
    without_copy(folder, cache, "cannot be written: Permission denied")


def test_a_place_that_is_no_folder(folder: Path, cache: Path) -> None:
    cache.write_text("")
    without_copy(folder, cache, "cannot be written: File exists")
    without_copy(folder, cache / "inside", "cannot be written: Not a directory")


def test_a_full_disk(folder: Path, tmpfs: Callable[[str], Path]) -> None:
    cache = tmpfs("size=4k")
    without_copy(folder, cache, r"no space for a copy .* bytes free; expected [\d,]+, twice")
    assert copies(cache) == []


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
""" + SCORE.replace("assert guard.why_unprepared is None, guard.why_unprepared", "")


@pytest.mark.parametrize("limit", [10, 100_000])
def test_space_that_ends_in_the_middle(limit: int, cache: Path, small_bundle: Path) -> None:
    """A limit on the size of files fails a write as a full disk does."""
    if not (MINI / "guard.json").is_file():
        pytest.skip("no embedded guard in this checkout")
    command = [sys.executable, "-c", LIMITED, str(MINI), str(cache), str(limit)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout.split()[0] == "None"
    assert "UnpreparedWarning: guard 'mini' runs without" in done.stderr
    assert "onnxruntime cannot make the copy" in done.stderr
    assert "bytes are free" in done.stderr
    assert copies(cache) == []


@pytest.mark.parametrize("place", ["cache", "copy"])
def test_a_folder_that_others_can_write_to(folder: Path, cache: Path, place: str) -> None:
    copy = prepared.prepare(open_bundle(folder), cache).folder
    path = cache if place == "cache" else copy
    path.chmod(0o777)
    with pytest.raises(PrepareError, match="can be written to by other users; expected a folder"):
        prepared.find(open_bundle(folder), cache)
    if place == "copy":
        assert found(folder, cache) == expected(folder), "it is made again"
    else:
        without_copy(folder, cache, "can be written to by other users")
        path.chmod(0o1777)
        assert found(folder, cache) == expected(folder), "as in /tmp: others cannot replace it"


def test_a_copy_that_is_a_link(folder: Path, cache: Path, tmp_path: Path) -> None:
    copy = prepared.prepare(open_bundle(folder), cache).folder
    copy.symlink_to(copy.rename(tmp_path / "elsewhere"))
    with pytest.raises(PrepareError, match="is not a folder of its own"):
        prepared.find(open_bundle(folder), cache)
    assert found(folder, cache) == expected(folder)
