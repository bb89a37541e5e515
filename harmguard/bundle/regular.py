"""Read what somebody else wrote: regular files alone, never waited for, never more than expected.

A name may be a pipe, a device, a link out of its folder, or another file a moment later. So a
file is looked at before it is opened, opened without following or waiting, and looked at again;
what is read is read from that one descriptor.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import NamedTuple

from harmguard.bundle.fields import MANIFEST
from harmguard.errors import BundleFileError, UnsafePathError

EMBEDDED = Path(__file__).parent.parent / "models" / "mini"
"""The guard that comes with the package."""
_packaged = {EMBEDDED}
_CHUNK = 1 << 20
_FOLDER = os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY
_FILE = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class Identity(NamedTuple):
    """What tells a file and its content from another: no write leaves all of it as it was."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int


def trust_package(folder: Path) -> None:
    """Let the files of `folder`, which an installed package holds, be links of its installer."""
    _packaged.add(folder)


@contextmanager
def open_regular(folder: Path, name: str) -> Iterator[FileIO]:
    """The file `name` of `folder`, open for reading; it must be a regular file of the folder.

    `name` may have folders, as the files of a Core ML package have, none of them a link. Raises
    BundleFileError for a file that is not there and UnsafePathError for any other kind of file.
    """
    if folder in _packaged:
        # Some installers link a package's files into place: as safe as the code beside them.
        target = (folder / name).resolve()
        folder, name = target.parent, target.name
    *parents, last = name.split("/")
    place = os.open(folder, _FOLDER)
    try:
        for depth, parent in enumerate(parents, 1):
            outer, place = place, _inner_folder(place, parent, "/".join(parents[:depth]))
            os.close(outer)
        descriptor = _descriptor(place, last, name)
    finally:
        os.close(place)
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        yield file


def _inner_folder(place: int, last: str, name: str) -> int:
    try:
        if stat.S_ISLNK(os.stat(last, dir_fd=place, follow_symlinks=False).st_mode):
            raise UnsafePathError(
                f"{name} is a symbolic link; expected a folder; likely a hostile bundle"
            )
        return os.open(last, _FOLDER | os.O_NOFOLLOW, dir_fd=place)
    except OSError:
        raise _missing(name) from None


def _descriptor(place: int, last: str, name: str) -> int:
    try:
        before = os.stat(last, dir_fd=place, follow_symlinks=False)
    except FileNotFoundError:
        raise _missing(name) from None
    if stat.S_ISLNK(before.st_mode):
        raise UnsafePathError(
            f"{name} is a symbolic link; expected a regular file; likely a cache folder: "
            "copy it with `cp -rL`"
        )
    if not stat.S_ISREG(before.st_mode):
        raise UnsafePathError(
            f"{name} is not a regular file; expected one; likely a hostile bundle"
        )
    try:
        descriptor = os.open(last, _FILE, dir_fd=place)
    except OSError as error:
        raise BundleFileError(
            f"{name} cannot be opened ({error.strerror}); expected a file that this user may "
            "read; likely its permissions, or it was replaced at this moment"
        ) from None
    if not os.path.samestat(before, os.fstat(descriptor)):
        os.close(descriptor)
        raise changed(name)
    return descriptor


def identity(file: FileIO) -> Identity:
    """What is to stay the same while the file is used."""
    info = os.fstat(file.fileno())
    return Identity(info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns)


def read_up_to(file: FileIO, limit: int) -> bytes:
    """What is left in the file, and at most `limit` bytes of it."""
    parts: list[bytes] = []
    while limit > 0 and (part := file.read(limit)):
        parts.append(part)
        limit -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def read_exactly(file: FileIO, name: str, size: int) -> bytes:
    """The whole file, which has `size` bytes; BundleFileError if it has others by now."""
    data = read_up_to(file, size + 1)
    if len(data) != size:
        raise changed(name)
    return data


def hash_exactly(
    file: FileIO, name: str, size: int, stopped: Callable[[], bool] = lambda: False
) -> str:
    """Hex sha256 of the file, which has `size` bytes; BundleFileError if it has others by now.

    It gives up, as if the file had changed, once `stopped` says so.
    """
    digest, buffer, done = hashlib.sha256(), bytearray(min(size + 1, _CHUNK)), 0
    view = memoryview(buffer)
    while done <= size and not stopped() and (count := file.readinto(buffer)):
        digest.update(view[:count])
        done += count
    if done != size:
        raise changed(name)
    return digest.hexdigest()


def check_unchanged(folder: Path, name: str, expected: Identity) -> None:
    """Raise BundleFileError unless `name` is still the file, and content, that was checked."""
    with open_regular(folder, name) as file:
        if identity(file) != expected:
            raise changed(name)


def changed(name: str) -> BundleFileError:
    """The error for a file that is another one than a moment ago."""
    return BundleFileError(
        f"{name} was changed while the bundle was loaded; expected the file whose hash was "
        "checked; likely a copy onto the folder: write the new bundle beside it and rename it"
    )


def _missing(name: str) -> BundleFileError:
    return BundleFileError(
        f"{name} is missing; expected it as {MANIFEST} lists it; likely an unfinished copy"
    )
