"""Files that are complete or not there: written aside, flushed, renamed; nothing overwritten.

What is written aside stands beside its target as `.NAME.HEX.part` and is locked by its writer.
A killed writer leaves it behind without a lock, and the next writer of the same target removes
it. Nothing else is ever removed, whatever its name.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from harmguard.errors import OutputExistsError

_LONGEST_NAME = 200  # bytes; most file systems take 255, and the part's name is longer


def refuse_existing(path: Path | str) -> None:
    """Refuse an output path before any work is done; a dangling link is something too.

    Raises OutputExistsError.
    """
    if os.path.lexists(path):
        raise OutputExistsError(
            f"{str(path)!r} exists; expected a new path; nothing is overwritten"
        )


@contextmanager
def new_folder(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """A folder to fill, which is at `path` once the block ends, whole, and never in part.

    With `replace` a folder that is there before is removed afterwards. Folders above `path` are
    made. Raises OutputExistsError.
    """
    path = Path(path)
    if not replace:
        refuse_existing(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path)
    aside, descriptor = _part(path), None
    try:
        descriptor = _make_folder(aside)
        yield aside
        for parent, _, names in os.walk(aside, topdown=False):
            for name in names:
                sync(Path(parent, name))
            sync(Path(parent))
        if replace:
            _move_away(path)
        refuse_existing(path)
        aside.rename(path)
        sync(path.parent)
    finally:
        _remove_folder(aside, descriptor)
        if replace:
            _sweep(path)


@contextmanager
def work_folder(path: Path) -> Iterator[Path]:
    """An empty folder beside `path` for what goes into it later; it is removed at the end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path)
    aside, descriptor = _part(path), None
    try:
        descriptor = _make_folder(aside)
        yield aside
    finally:
        _remove_folder(aside, descriptor)


@contextmanager
def new_file(path: Path, *, replace: bool = False) -> Iterator[BinaryIO]:
    """A file to write, which is at `path` once the block ends, whole, and never in part.

    With `replace` it takes the place of a file that is there. Raises OutputExistsError, and
    OSError where the folder is not there or cannot be written to.
    """
    path = Path(path)
    if not replace:
        refuse_existing(path)
    _sweep(path)
    # Named before it is made: a signal between the two leaves nothing behind.
    aside = _part(path)
    try:
        with _make_file(aside) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            if not replace:
                refuse_existing(path)
            aside.replace(path)
        sync(path.parent)
    finally:
        aside.unlink(missing_ok=True)


def write_file(path: Path, data: bytes | str, *, replace: bool = False) -> None:
    """Write `data`, text as UTF-8, as `new_file` does."""
    with new_file(path, replace=replace) as file:
        file.write(data.encode() if isinstance(data, str) else data)


def sync(path: Path) -> None:
    """Flush a file or folder to disk, where the system can, so that it survives a power cut."""
    if os.name != "posix" or path.is_symlink():
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    """Hex digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _part(path: Path) -> Path:
    return path.with_name(f".{_stem(path)}.{os.urandom(4).hex()}.part")


def _stem(path: Path) -> str:
    long = len(os.fsencode(path.name)) > _LONGEST_NAME
    return hashlib.sha256(os.fsencode(path.name)).hexdigest()[:32] if long else path.name


def _make_folder(aside: Path) -> int:
    """Make a locked folder; the descriptor that holds the lock."""
    while True:
        aside.mkdir()
        descriptor = os.open(aside, os.O_RDONLY)
        if _lock_own(aside, descriptor):
            return descriptor
        os.close(descriptor)


def _remove_folder(aside: Path, descriptor: int | None) -> None:
    shutil.rmtree(aside, ignore_errors=True)
    if descriptor is not None:
        os.close(descriptor)


def _make_file(aside: Path) -> BinaryIO:
    """Make a locked file."""
    while True:
        file = aside.open("xb")
        if _lock_own(aside, file.fileno()):
            return file
        file.close()


def _lock_own(aside: Path, descriptor: int) -> bool:
    """Lock what was just made; False if a sweep took it away before the lock."""
    with suppress(OSError):  # where nothing can be locked, nothing is swept either
        _lock(descriptor)
    try:
        return os.path.samestat(os.fstat(descriptor), aside.lstat())
    except FileNotFoundError:
        return False


def _lock(descriptor: int, *, wait: bool = True) -> None:
    """Lock an open file for this process; OSError where it is another's or cannot be locked."""
    try:
        import fcntl
    except ImportError:
        raise OSError("this system has no file locks") from None
    fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


def _move_away(path: Path) -> None:
    """Rename what is at `path` to a part, which the sweep that follows removes."""
    with suppress(FileNotFoundError):
        path.rename(_part(path))


def _sweep(path: Path) -> None:
    """Remove the parts of `path` that no writer holds."""
    name = re.compile(re.escape(f".{_stem(path)}.") + r"[0-9a-f]{8}\.part")
    for dead in [entry for entry in path.parent.iterdir() if name.fullmatch(entry.name)]:
        with suppress(OSError):
            descriptor = os.open(dead, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                _lock(descriptor, wait=False)
                if dead.is_dir():
                    shutil.rmtree(dead, ignore_errors=True)
                else:
                    dead.unlink()
            finally:
                os.close(descriptor)
