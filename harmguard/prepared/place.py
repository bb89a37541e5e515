"""Where prepared copies are kept: a folder of its own name, that no other user could have filled.

What is in it decides the scores. So the owner, kind and mode of everything are looked at before
it is opened, and nothing is opened that could be waited for.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harmguard.errors import PrepareError

OWN = "harmguard-prepared"
"""The folder in a cache that copies are made in; nothing beside it is ever touched."""
LOCK = ".lock"
LOCK_SECONDS = 300.0
"""How long to wait for another process that prepares in the same cache."""
_WORD_AFTER_SECONDS = 1.0


def own_folder(cache: Path) -> Path:
    """The folder for copies in `cache`, which may be any folder."""
    return cache.resolve() / OWN


def make_own_folder(cache: Path) -> Path:
    """Make it, with `cache` itself, and check both. OSError, or PrepareError as `check_places`."""
    cache.mkdir(mode=0o755, parents=True, exist_ok=True)
    folder = own_folder(cache)
    folder.mkdir(mode=0o700, exist_ok=True)
    check_places(folder)
    return folder


def check_places(folder: Path, *inner: Path) -> None:
    """Check the folder for copies, the cache that it is in, and copies. Raises PrepareError."""
    # In a folder such as /tmp others may add files, but not replace this user's.
    _check_place(folder.parent, sticky=True)
    for path in (folder, *inner):
        _check_place(path, sticky=False)


def _check_place(path: Path, *, sticky: bool) -> None:
    info = path.lstat()
    if not stat.S_ISDIR(info.st_mode):
        raise PrepareError(f"{str(path)!r} is not a folder of its own; expected one, and no link")
    if sticky and info.st_mode & stat.S_ISVTX and info.st_uid in (0, os.getuid()):
        return
    others = info.st_mode & stat.S_IWOTH or (info.st_mode & stat.S_IWGRP and not _private(info))
    if info.st_uid not in (0, os.getuid()) or others:
        raise PrepareError(
            f"{str(path)!r} can be written to by other users; expected a folder that belongs to "
            "this user or root, and that others cannot write to: a subfolder of it works"
        )


def _private(info: os.stat_result) -> bool:
    """Whether a folder's group is this user's alone, as systems that make one for each user do."""
    return info.st_gid == os.getegid() == os.getuid()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of the folder for copies, where the system has locks.

    Raises PrepareError for a lock that is not a file of this user, or that is held for too long.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    path = folder / LOCK
    try:
        kind = path.lstat().st_mode
    except FileNotFoundError:
        kind = stat.S_IFREG
    if not stat.S_ISREG(kind):
        raise _no_lock(path)
    descriptor = os.open(path, flags, 0o600)
    try:
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode) or info.st_uid not in (0, os.getuid()):
            raise _no_lock(path)
        _wait(descriptor, folder)
        yield
    finally:
        os.close(descriptor)


def _no_lock(path: Path) -> PrepareError:
    return PrepareError(
        f"{str(path)!r} is not a file of this user; expected one, or none; likely put there by "
        "somebody else: remove it"
    )


def _wait(descriptor: int, folder: Path) -> None:
    """Wait for the lock, which goes with the descriptor, or the process."""
    try:
        import fcntl
    except ImportError:
        return
    start, told = time.monotonic(), False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            waited = time.monotonic() - start
            if waited > LOCK_SECONDS:
                raise PrepareError(
                    f"another process has been preparing in {str(folder)!r} for "
                    f"{LOCK_SECONDS:g} s; expected it to end; likely one that hangs"
                ) from None
            if waited > _WORD_AFTER_SECONDS and not told:
                import logging

                logging.getLogger("harmguard").warning(
                    "waiting for another process that prepares in %r, at most %g s",
                    str(folder),
                    LOCK_SECONDS,
                )
                told = True
            time.sleep(0.05)
        except OSError:  # some network file systems have no locks; the rename is atomic there too
            return
