"""Files that are complete or not there."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from harmguard.core import files
from harmguard.core.files import (
    new_file,
    new_folder,
    refuse_existing,
    sha256_of,
    work_folder,
    write_file,
)
from harmguard.errors import OutputExistsError


def there(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


@pytest.mark.parametrize("kind", ["file", "folder", "dangling"])
@pytest.mark.parametrize("writer", [new_file, new_folder])
def test_what_exists_is_refused(tmp_path: Path, kind: str, writer: object) -> None:
    path = tmp_path / "out"
    if kind == "file":
        path.write_bytes(b"old")
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("nowhere")
    with pytest.raises(OutputExistsError, match=r"out' exists; expected a new path; nothing is"):
        refuse_existing(path)
    with pytest.raises(OutputExistsError, match="exists"), writer(path):  # type: ignore[operator]
        raise AssertionError("not begun")
    assert there(tmp_path) == ["out"]


def test_a_file_is_there_once_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with new_file(path) as file:
        file.write(b"whole")
        assert not path.exists()
    assert path.read_bytes() == b"whole"
    assert there(path.parent) == ["out"]
    write_file(path, "caf\u00e9", replace=True)
    assert path.read_bytes() == "caf\u00e9".encode()
    with pytest.raises(FileNotFoundError), new_file(tmp_path / "none" / "out"):
        raise AssertionError("not begun")
    assert sha256_of(path) == "850f7dc43910ff890f8879c0ed26fe697c93a067ad93a7d50f466a7028a9bf4e"


def test_a_folder_is_there_once_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "out"
    with new_folder(path) as aside:
        (aside / "inner").mkdir()
        (aside / "inner" / "a").write_text("a")
        (aside / "link").symlink_to("inner")
        assert not path.exists()
    assert there(path) == ["inner", "link"]
    assert there(path.parent) == ["out"]


@pytest.mark.parametrize("writer", [new_file, new_folder, work_folder])
def test_a_failure_leaves_nothing(tmp_path: Path, writer: object) -> None:
    with pytest.raises(ZeroDivisionError), writer(tmp_path / "out"):  # type: ignore[operator]
        raise ZeroDivisionError
    assert there(tmp_path) == []


@pytest.mark.parametrize("writer", [new_file, new_folder])
def test_what_appears_meanwhile_stays(tmp_path: Path, writer: object) -> None:
    path = tmp_path / "out"
    with pytest.raises(OutputExistsError), writer(path):  # type: ignore[operator]
        path.write_text("another's")
    assert path.read_text() == "another's"
    assert there(tmp_path) == ["out"]


def test_a_replaced_file_or_folder_is_the_new_one(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").write_text("old")
    with new_folder(tmp_path / "out", replace=True) as aside:
        (aside / "new").write_text("new")
        assert there(tmp_path / "out") == ["old"]
    assert there(tmp_path / "out") == ["new"]
    assert there(tmp_path) == ["out"]
    with pytest.raises(ZeroDivisionError), new_folder(tmp_path / "out", replace=True):
        raise ZeroDivisionError
    assert there(tmp_path / "out") == ["new"]


def test_work_folders_are_removed(tmp_path: Path) -> None:
    with work_folder(tmp_path / "out") as folder:
        (folder / "a").write_text("a")
        with new_folder(tmp_path / "out") as aside:
            (aside / "b").write_text("b")
        assert (folder / "a").exists(), "a writer of the same target leaves it alone"
    assert there(tmp_path) == ["out"]


WRITER = """
import sys, time
from pathlib import Path
from harmguard.core.files import new_file, new_folder
writer = {"file": new_file, "folder": new_folder}[sys.argv[1]]
with writer(Path(sys.argv[2])):
    print("under way", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_the_next_writer_removes_what_a_killed_one_left_and_nothing_else(
    tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "out"
    mine = [".out.tmp-1", ".out.0123456.part", ".other.01234567.part", ".out.0123456z.part"]
    for name in mine:
        (tmp_path / name).mkdir()
    command = [sys.executable, "-c", WRITER, kind, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"under way\n"
        with new_folder(path):
            assert len(there(tmp_path)) == len(mine) + 2, "what is under way is left alone"
        path.rmdir()
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert len(there(tmp_path)) == len(mine) + 1
    write_file(path, "whole")
    assert there(tmp_path) == sorted([*mine, "out"])


def test_a_part_that_is_no_file_or_folder_is_neither_opened_nor_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "a").write_text("a")
    (tmp_path / ".out.00000001.part").symlink_to("precious")
    os.mkfifo(tmp_path / ".out.00000002.part")
    write_file(tmp_path / "out", "whole")
    assert there(tmp_path / "precious") == ["a"]
    assert (tmp_path / ".out.00000001.part").is_symlink()


def test_a_part_that_is_swept_before_its_lock_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = files._lock
    swept: list[list[str]] = []

    def sweep_first(descriptor: int, *, wait: bool = True) -> None:
        if not swept:
            swept.append(os.listdir(tmp_path))
            for name in swept[0]:
                (tmp_path / name).unlink()
        lock(descriptor, wait=wait)

    monkeypatch.setattr(files, "_lock", sweep_first)
    write_file(tmp_path / "out", "whole")
    assert len(swept) == 1
    assert (tmp_path / "out").read_text() == "whole"


def test_many_writers_of_one_target_end_with_one_of_them(tmp_path: Path) -> None:
    path, errors = tmp_path / "out", []

    def write(number: int) -> None:
        try:
            for _ in range(20):
                write_file(path, f"{number}" * 1000, replace=True)
        except OSError as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(set(path.read_text())) == 1
    assert there(tmp_path) == ["out"]


def test_names_of_the_longest_length(tmp_path: Path) -> None:
    name = "\u00e9" * 127
    write_file(tmp_path / name, "whole")
    assert there(tmp_path) == [name]


def test_without_locks_parts_are_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)
    (tmp_path / ".out.00000000.part").write_text("dead")
    write_file(tmp_path / "out", "whole")
    assert there(tmp_path) == [".out.00000000.part", "out"]


def test_a_lock_that_another_process_holds_is_waited_for(tmp_path: Path) -> None:
    """`_lock` waits, so that a part is not begun while a sweep looks at it."""
    path = tmp_path / "held"
    path.touch()
    descriptors = [os.open(path, os.O_RDONLY) for _ in range(2)]
    fcntl.flock(descriptors[0], fcntl.LOCK_EX)
    with pytest.raises(BlockingIOError):
        files._lock(descriptors[1], wait=False)
    opener = threading.Timer(0.05, fcntl.flock, (descriptors[0], fcntl.LOCK_UN))
    opener.start()
    started = time.monotonic()
    files._lock(descriptors[1])
    assert time.monotonic() - started > 0.01
    for descriptor in descriptors:
        os.close(descriptor)
