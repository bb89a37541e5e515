"""Caches that somebody else has filled: what is not the cache's own is neither used nor touched."""

from __future__ import annotations

import logging
import os
import shutil
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from harmguard import HarmGuard
from harmguard.bundle import open_bundle
from harmguard.cli import main
from harmguard.errors import PrepareError
from harmguard.prepared import place
from harmguard.prepared import prepare as prepared
from harmguard.prepared.place import LOCK, OWN

from .preparing import TEXT, copies, expected, found, without_copy

Put = Callable[[Path], object]


@pytest.fixture
def folder(external_bundle: Path) -> Path:
    return external_bundle


def tree(root: Path) -> dict[str, tuple[int, bytes]]:
    """Everything below `root` but the cache's own folder: kind, and content of files."""
    return {
        str(path.relative_to(root)): (
            stat.S_IFMT(path.lstat().st_mode),
            path.read_bytes() if path.is_file() else b"",
        )
        for path in sorted(root.rglob("*"))
        if OWN not in path.relative_to(root).parts
    }


# Names that look like the cache's

NAMES = (
    ".notes.tmp-1", ".photos.old-2024", ".tiny.12345678.part",
    ".tiny-0123456789abcdef.00ff00ff.part",
    "tiny-0123456789abcdef", ".lock", "prepared.json", ".guard.a1b2c3d4.part",
)  # fmt: skip


@pytest.mark.parametrize("command", ["guard", "prepare", "info"])
def test_folders_of_the_user_stay_as_they_are(folder: Path, cache: Path, command: str) -> None:
    for name in NAMES:
        (cache / name).mkdir(parents=True)
        (cache / name / "diary.txt").write_text("mine")
        (cache / name / "prepared.json").write_text('{"identity": {}}')
    before = tree(cache)
    if command == "guard":
        assert found(folder, cache) == expected(folder)
    else:
        assert main([command, str(folder), "--cache", str(cache)]) == 0
    assert tree(cache) == before


def test_an_export_under_way_beside_the_cache_goes_on(
    folder: Path, cache: Path, tmp_path: Path
) -> None:
    """Parts that a writer holds, or a killed one left, in the folder that is given as the cache."""
    from harmguard.core.files import new_folder

    with new_folder(cache / "guard") as aside:
        (aside / "model.onnx").write_bytes(b"half")
        assert found(folder, cache) == expected(folder)
        assert (aside / "model.onnx").read_bytes() == b"half"
    assert (cache / "guard" / "model.onnx").exists()


@pytest.mark.parametrize("shape", ["current", "with a trailing slash", "the bundle's own", "link"])
def test_any_folder_is_safe_as_a_cache(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: str
) -> None:
    place_ = tmp_path / "home"
    bundle = Path(shutil.copytree(folder, place_ / "guard"))
    (place_ / ".config.tmp-x").mkdir()
    monkeypatch.chdir(place_)
    given = {
        "current": ".", "with a trailing slash": f"{place_}/", "the bundle's own": str(bundle),
        "link": str(tmp_path / "link"),
    }[shape]  # fmt: skip
    (tmp_path / "link").symlink_to(place_)
    before = tree(tmp_path)
    with HarmGuard(bundle, threads=1, cache=given) as guard:
        assert guard.prepared is not None
        assert guard.prepared.parent.name == OWN
        assert guard.score(TEXT, "please") == expected(folder)
    assert tree(tmp_path) == before


# What somebody else put there


def pipe(path: Path) -> None:
    os.mkfifo(path)


def to_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def to_new_file(path: Path) -> None:
    path.symlink_to(path.parent.parent.parent / "made-elsewhere")


LOCKS: list[Put] = [pipe, to_device, to_new_file, Path.mkdir]


@pytest.mark.parametrize("put", LOCKS)
def test_a_lock_that_is_no_file(folder: Path, cache: Path, tmp_path: Path, put: Put) -> None:
    (cache / OWN).mkdir(parents=True)
    put(cache / OWN / LOCK)
    started = time.monotonic()
    without_copy(folder, cache, r"\.lock' is not a file of this user; expected one, or none")
    assert time.monotonic() - started < 60
    assert not (tmp_path / "made-elsewhere").exists()


def sparse(path: Path) -> None:
    path.write_bytes(b"{")
    os.truncate(path, 1 << 42)


@pytest.mark.parametrize("put", [pipe, to_device, Path.mkdir, sparse])
@pytest.mark.parametrize("name", ["prepared.json", "model.onnx", "model.onnx.data"])
def test_a_file_of_the_copy_that_is_another_thing(
    folder: Path, cache: Path, name: str, put: Put
) -> None:
    copy = prepared.prepare(open_bundle(folder), cache)
    (copy.folder / name).unlink()
    put(copy.folder / name)
    with pytest.raises(PrepareError, match="is damaged: "):
        prepared.find(open_bundle(folder), cache)
    assert found(folder, cache) == expected(folder), "it is made again"
    assert copies(cache) == [copy.folder.name]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives folders away")
@pytest.mark.parametrize("what", ["cache", "own", "copy", "lock"])
def test_what_belongs_to_another_user(folder: Path, cache: Path, what: str) -> None:
    copy = prepared.prepare(open_bundle(folder), cache).folder
    path = {"cache": cache, "own": cache / OWN, "copy": copy, "lock": cache / OWN / LOCK}[what]
    os.chown(path, 12345, 12345)
    if what == "lock":
        shutil.rmtree(copy)
        without_copy(folder, cache, "is not a file of this user")
    elif what == "copy":
        assert found(folder, cache) == expected(folder), "it is made again"
    else:
        without_copy(folder, cache, "can be written to by other users")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives folders away")
@pytest.mark.parametrize("what", ["cache", "own", "copy"])
@pytest.mark.parametrize("mode", [0o775, 0o770, 0o2775])
def test_a_folder_that_a_foreign_group_can_write_to(
    folder: Path, cache: Path, what: str, mode: int
) -> None:
    copy = prepared.prepare(open_bundle(folder), cache).folder
    path = {"cache": cache, "own": cache / OWN, "copy": copy}[what]
    os.chown(path, 0, 12345)
    path.chmod(mode)
    with pytest.raises(
        PrepareError, match=r"written to by other users; .* a subfolder of it works"
    ):
        prepared.find(open_bundle(folder), cache)
    path.chmod(0o755)
    prepared.find(open_bundle(folder), cache)


def test_the_own_folder_is_closed_to_others(folder: Path, cache: Path) -> None:
    prepared.prepare(open_bundle(folder), cache)
    assert stat.S_IMODE((cache / OWN).stat().st_mode) == 0o700


def test_an_own_folder_that_is_a_link(folder: Path, cache: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    cache.mkdir()
    (cache / OWN).symlink_to(tmp_path / "elsewhere")
    without_copy(folder, cache, "is not a folder of its own; expected one, and no link")
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize("name", ["../../elsewhere", "/etc/hostname", "sub/model.onnx"])
def test_a_record_that_names_files_elsewhere(folder: Path, cache: Path, name: str) -> None:
    copy = prepared.prepare(open_bundle(folder), cache).folder
    record = (copy / "prepared.json").read_text().replace('"model.onnx.data"', f'"{name}"')
    (copy / "prepared.json").write_text(record)
    with pytest.raises(PrepareError, match="is damaged: file name"):
        prepared.find(open_bundle(folder), cache)


# Waiting


def test_waiting_is_said_after_a_second(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(place, "_WORD_AFTER_SECONDS", 0.1)
    place.make_own_folder(cache)
    release = threading.Timer(0.4, lambda: None)
    with place.locked(cache / OWN):
        waiter = threading.Thread(target=prepared.prepare, args=(open_bundle(folder), cache))
        with caplog.at_level(logging.WARNING, "harmguard"):
            waiter.start()
            release.start()
            release.join()
    waiter.join()
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith("waiting for another process that prepares in ")
    assert said.endswith("at most 300 s")
    assert len(copies(cache)) == 1
