"""What was hashed is what is loaded: files that are swapped, grown or made pipes meanwhile."""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import resource
import shutil
import socket
import threading
import time
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harmguard import HarmGuard
from harmguard.bundle import EMBEDDED, RECORD, Manifest, load_tokenizer, open_bundle
from harmguard.bundle.regular import hash_exactly, identity, open_regular, read_exactly, read_up_to
from harmguard.errors import BundleFileError, HarmGuardError, ManifestError, UnsafePathError
from harmguard.runtime import session as sessions
from harmguard.runtime import weights
from harmguard.runtime.session import Session
from harmguard.verify import replay_golden

TEXT = "how to make bread"
Swap = Callable[[Path], object]


@pytest.fixture
def folder(external_bundle: Path, tmp_path: Path) -> Path:
    """A copy of a bundle whose weights lie beside the graph."""
    return Path(shutil.copytree(external_bundle, tmp_path / "guard"))


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def link(path: Path) -> None:
    path.symlink_to(path.rename(path.parent.parent / path.name))


def other_file(path: Path) -> None:
    """Another file of the same size and time, in its place."""
    info = path.stat()
    aside = path.with_name("aside")
    aside.write_bytes(bytes(info.st_size))
    os.utime(aside, ns=(info.st_atime_ns, info.st_mtime_ns))
    aside.replace(path)


def overwritten(path: Path) -> None:
    """Other bytes in the same file, its size and time kept."""
    info = path.stat()
    time.sleep(0.01)
    with path.open("r+b") as file:
        file.write(bytes(info.st_size))
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))


def cut(path: Path) -> None:
    os.truncate(path, 100)


SWAPS: list[Swap] = [pipe, link, other_file, overwritten, cut, Path.unlink]


@pytest.mark.parametrize("swap", SWAPS)
@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
def test_graph_and_tokenizer_are_the_bytes_that_were_hashed(
    folder: Path, name: str, swap: Swap
) -> None:
    bundle = open_bundle(folder)
    ids = load_tokenizer(bundle).encode(TEXT).ids
    expected = logits(Session(bundle, 1))
    swap(folder / name)
    assert load_tokenizer(bundle).encode(TEXT).ids == ids
    assert logits(Session(bundle, 1)) == expected


def logits(session: Session) -> list[list[float]]:
    ids = np.array([[2, 5, 6, 3]], np.int64)
    found: list[list[float]] = session.run(ids, np.ones_like(ids), np.zeros_like(ids)).tolist()
    return found


@pytest.mark.parametrize("swap", SWAPS)
def test_weights_that_were_swapped_are_not_loaded(folder: Path, swap: Swap) -> None:
    bundle = open_bundle(folder)
    swap(folder / "model.onnx.data")
    with pytest.raises(HarmGuardError, match=r"model\.onnx\.data (was changed|is)") as caught:
        Session(bundle, 1)
    assert caught.type in (BundleFileError, UnsafePathError)


@pytest.mark.parametrize("swap", [other_file, overwritten, pipe])
def test_weights_that_are_swapped_while_a_session_is_made(
    folder: Path, swap: Swap, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are looked at before and after."""
    bundle = open_bundle(folder)
    right = sessions.ort.InferenceSession

    def late(*args: object, **options: object) -> object:
        made = right(*args, **options)
        swap(folder / "model.onnx.data")
        return made

    monkeypatch.setattr(sessions.ort, "InferenceSession", late)
    with pytest.raises(HarmGuardError, match=r"model\.onnx\.data (was changed|is not)"):
        Session(bundle, 1)


@pytest.mark.parametrize("swap", SWAPS)
def test_golden_pairs_that_were_swapped(folder: Path, swap: Swap) -> None:
    bundle = open_bundle(folder)
    swap(folder / "golden.jsonl")
    with pytest.raises(HarmGuardError, match=r"golden\.jsonl (was changed|has sha256|is)"):
        replay_golden(bundle, None)


def test_a_folder_that_flickers_never_gives_other_scores(folder: Path) -> None:
    """Another process swaps two bundles back and forth while guards are made."""
    other = Path(shutil.copytree(folder, folder.parent / "other"))
    with HarmGuard(folder, threads=1) as guard:
        expected = guard.score(TEXT)
    overwritten(other / "model.onnx.data")
    stop = threading.Event()

    def flicker() -> None:
        while not stop.is_set():
            for source in (other, folder.parent / "kept"):
                aside = folder / "aside"
                shutil.copyfile(source / "model.onnx.data", aside)
                aside.replace(folder / "model.onnx.data")

    shutil.copytree(folder, folder.parent / "kept")
    thread = threading.Thread(target=flicker)
    thread.start()
    try:
        for _ in range(30):
            try:
                with HarmGuard(folder, threads=1) as guard:
                    assert guard.score(TEXT) == expected
            except BundleFileError:
                pass
    finally:
        stop.set()
        thread.join()


# After the load nothing in the folder matters


@pytest.mark.skipif(not weights.can_see_maps(), reason="no procfs")
def test_no_file_stays_mapped_and_none_open(any_bundle: Path) -> None:
    with HarmGuard(any_bundle, threads=1):
        assert str(any_bundle) not in Path("/proc/self/maps").read_text()
        links = (Path("/proc/self/fd", number) for number in os.listdir("/proc/self/fd"))
        targets = [os.readlink(link) for link in links if link.is_symlink()]
        assert targets
        assert not [target for target in targets if target.startswith(str(any_bundle))]


@pytest.mark.parametrize("swap", [other_file, overwritten, cut, pipe, Path.unlink])
def test_a_running_guard_keeps_its_weights(folder: Path, swap: Swap) -> None:
    with HarmGuard(folder, threads=1) as guard:
        before = guard.score(TEXT), guard.score(TEXT, "please help")
        for name in ("model.onnx.data", "model.onnx", "tokenizer.json", "guard.json"):
            swap(folder / name)
        assert (guard.score(TEXT), guard.score(TEXT, "please help")) == before


def test_where_maps_cannot_be_seen_all_weights_are_copied(
    any_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with HarmGuard(any_bundle, threads=1) as guard:
        expected = guard.score(TEXT)
    monkeypatch.setattr(sessions, "can_see_maps", lambda: False)
    with HarmGuard(any_bundle, threads=1) as guard:
        assert guard.score(TEXT) == pytest.approx(expected, abs=1e-6)


def test_weights_that_stay_mapped_are_copied_in_a_second_session(
    external_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def mapped(paths: object) -> bool:
        asked.append(1)
        return True

    monkeypatch.setattr(sessions, "still_mapped", mapped)
    with HarmGuard(external_bundle, threads=1) as guard:
        assert 0 < guard.score(TEXT) < 1
    assert asked == ([1] if sessions._takes_a_folder() else [])


@pytest.mark.skipif(not weights.can_see_maps(), reason="no procfs")
def test_a_mapping_is_seen_by_name_and_by_number(tmp_path: Path) -> None:
    path = tmp_path / "da ta\u00e9"
    path.write_bytes(bytes(8192))
    assert not weights.still_mapped([path])
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ):
        assert weights.still_mapped([path])
        (tmp_path / "link").symlink_to(path)
        assert weights.still_mapped([tmp_path / "link"])
        moved = path.rename(tmp_path / "moved")
        assert weights.still_mapped([moved])
    assert not weights.still_mapped([moved])


# Reading


def test_files_that_grow_or_shrink_while_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    for size in (4, 6, 7):
        with open_regular(tmp_path, "file") as file, pytest.raises(BundleFileError, match="change"):
            read_exactly(file, "file", size)
        with open_regular(tmp_path, "file") as file, pytest.raises(BundleFileError, match="change"):
            hash_exactly(file, "file", size)
    with open_regular(tmp_path, "file") as file:
        assert read_up_to(file, 3) == b"123"
        assert identity(file).size == 5


@pytest.mark.parametrize("size", [1 << 21, 1 << 42])
def test_a_sparse_file_is_not_read(folder: Path, size: int) -> None:
    """Sizes are compared before a byte is read; a manifest has a limit of its own."""
    for name in ("tokenizer.json", "model.onnx", "golden.jsonl"):
        before = (folder / name).read_bytes()
        os.truncate(folder / name, size)
        with pytest.raises(BundleFileError, match=rf"{name} has {size:,} bytes; expected"):
            open_bundle(folder)
        (folder / name).write_bytes(before)
    os.truncate(folder / "guard.json", size)
    with pytest.raises(ManifestError, match="1,048,577 bytes; expected at most 1,048,576"):
        open_bundle(folder)


@pytest.mark.parametrize("kind", ["pipe", "socket", "folder", "device"])
def test_a_manifest_that_is_no_file(folder: Path, kind: str) -> None:
    path = folder / "guard.json"
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        try:
            os.mknod(path, 0o20666, os.makedev(1, 5))
        except PermissionError:
            pytest.skip("this user makes no devices")
    else:
        with socket.socket(socket.AF_UNIX) as made:
            place = os.open(folder, os.O_RDONLY)
            made.bind(f"/proc/self/fd/{place}/guard.json")
            os.close(place)
    with pytest.raises(UnsafePathError, match=r"guard\.json is not a regular file"):
        open_bundle(folder)


@pytest.mark.parametrize("swap", [pipe, link, cut])
def test_a_record_that_is_no_file_costs_the_hashing_alone(folder: Path, swap: Swap) -> None:
    (folder / RECORD).write_bytes(b"x" * 200)
    swap(folder / RECORD)
    with HarmGuard(folder, threads=1) as guard:
        assert 0 < guard.score(TEXT) < 1


def test_thousands_of_small_files_are_not_open_together(
    needle_bundle: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(needle_bundle, tmp_path / "guard")
    manifest = open_bundle(needle_bundle).manifest.to_json()
    digest = hashlib.sha256(b"x").hexdigest()
    for number in range(400):
        (folder / f"w{number}.data").write_bytes(b"x")
        manifest["files"][f"w{number}.data"] = {"size": 1, "sha256": digest}
    (folder / "guard.json").write_bytes(Manifest.from_json(manifest).to_bytes())
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
    try:
        with pytest.raises(ManifestError, match=r"files is \['w0.data'"):
            open_bundle(folder)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_large_file_that_cannot_be_read_is_a_named_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(EMBEDDED, tmp_path / "guard")

    def fails(file: FileIO, name: str, *more: Any) -> str:
        if name == "model.onnx.data":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return hash_exactly(file, name, *more)

    monkeypatch.setattr("harmguard.bundle.content.hash_exactly", fails)
    for load in (HarmGuard, open_bundle):
        with pytest.raises(BundleFileError, match=r"model.onnx.data cannot be read \(Input/output"):
            load(folder)


def test_no_copy_is_prepared_from_weights_of_a_wrong_hash(tmp_path: Path) -> None:
    folder, cache = shutil.copytree(EMBEDDED, tmp_path / "guard"), tmp_path / "cache"
    with (folder / "model.onnx.data").open("r+b") as file:
        file.seek(20_000_000)
        byte = file.read(1)
        file.seek(20_000_000)
        file.write(bytes([byte[0] ^ 1]))
    for options in ({}, {"cache": cache}):
        with pytest.raises(BundleFileError, match=r"model.onnx.data has sha256"):
            HarmGuard(folder, **options)  # type: ignore[arg-type]
    assert not cache.exists() or not list(cache.rglob("*.onnx"))
