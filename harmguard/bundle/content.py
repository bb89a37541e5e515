"""The files of a bundle: their sizes bounded before they are read, and hashed as they are read.

What is small and decides much (graph, tokenizer) is kept as the bytes that were hashed. Of large
files it is remembered which file was hashed, so that whoever opens it again can tell.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from io import FileIO
from pathlib import Path
from typing import Any, NamedTuple

from harmguard.bundle.regular import (
    Identity,
    hash_exactly,
    identity,
    open_regular,
    read_exactly,
    read_up_to,
)
from harmguard.bundle.spec import FileEntry
from harmguard.errors import BundleFileError

# Smaller files are hashed at every load; larger ones once, by verify: see RECORD.
HASHED_AT_LOAD_BYTES = 64_000_000
MAX_BYTES: Mapping[str, int] = {
    "model.onnx": (1 << 31) - 1,
    "tokenizer.json": 64_000_000,
    "golden.jsonl": 64_000_000,
    "README.md": 1_000_000,
    "model.mlpackage/Manifest.json": 1_000_000,
    "model.mlpackage/Data/com.apple.CoreML/model.mlmodel": (1 << 31) - 1,
}
"""The largest that a file may be; protobuf ends at 2 GiB."""
MAX_DATA_BYTES = 16_000_000_000
"""The largest file of weights: ten seconds of hashing on a processor without a unit for it."""
_LFS = b"version https://git-lfs"
_INLINE_BYTES = 1 << 20  # what takes less to hash than a thread takes to start


class Content(NamedTuple):
    """A file that has been checked: its record, what tells it from another, and its bytes."""

    record: dict[str, Any]
    identity: Identity
    data: bytes | None


def check_size(name: str, entry: FileEntry) -> None:
    """Refuse a file that the manifest says is larger than its kind may be."""
    limit = MAX_BYTES.get(name, MAX_DATA_BYTES)
    if entry.size > limit:
        raise BundleFileError(
            f"{name} has {entry.size:,} bytes, says the manifest; expected at most {limit:,}; "
            "likely a hostile or hand-made bundle"
        )


def check_content(
    folder: Path,
    name: str,
    entry: FileEntry,
    record: Any,
    *,
    keep: bool = False,
) -> Content:
    """Check size and hash of one file; with `keep` its bytes are returned too.

    A file of HASHED_AT_LOAD_BYTES and more whose `record` is that of the file on disk is not
    hashed. Raises BundleFileError, or UnsafePathError for what is not a file.
    """
    with open_regular(folder, name) as file:
        content, trusted = _sized(file, name, entry, record)
        data = read_exactly(file, name, entry.size) if keep else None
        if data is not None and not trusted:
            check_hash(name, entry, hashlib.sha256(data).hexdigest())
        elif not trusted:
            check_hash(name, entry, hash_exactly(file, name, entry.size))
        return content._replace(data=data)


def _sized(file: FileIO, name: str, entry: FileEntry, record: Any) -> tuple[Content, bool]:
    """The open file without its bytes, and whether its hash is known; refuses another size."""
    found = identity(file)
    if found.size != entry.size:
        cause = "a truncated download or an altered file"
        if read_up_to(file, len(_LFS)) == _LFS:
            cause = "a git-lfs pointer in place of the file: run `git lfs pull`"
        raise BundleFileError(
            f"{name} has {found.size:,} bytes; expected {entry.size:,}; likely {cause}"
        )
    current = {"size": entry.size, "mtime_ns": found.mtime_ns, "sha256": entry.sha256}
    return Content(current, found, None), entry.size >= HASHED_AT_LOAD_BYTES and record == current


def check_hash(name: str, entry: FileEntry, found: str) -> None:
    """Raise BundleFileError unless `found` is the sha256 that the manifest says."""
    if found != entry.sha256:
        raise BundleFileError(
            f"{name} has sha256 {found[:12]}...; expected {entry.sha256[:12]}...; "
            "likely a damaged download or a file changed after the bundle was written"
        )


class Hashing:
    """Checks the hashes of open files in a thread, so that a second core does it for free."""

    def __init__(self, files: Sequence[tuple[FileIO, str, FileEntry]]) -> None:
        self._files = files
        self._failed: list[BaseException] = []
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        if files:
            self._thread = threading.Thread(target=self._work, daemon=True, name="harmguard-hash")
            try:
                self._thread.start()
            except RuntimeError:  # no thread to be had
                self._thread = None
        if self._thread is None:
            self._work()

    def wait(self) -> None:
        """Return once every hash was checked. Raises BundleFileError for a wrong one."""
        if self._thread is not None:
            self._thread.join()
        if self._failed:
            raise self._failed[0]

    def stop(self) -> None:
        """Give up what is left, and wait until no file is read any more."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _work(self) -> None:
        name = ""
        try:
            for file, name, entry in self._files:
                found = hash_exactly(file, name, entry.size, self._stop.is_set)
                check_hash(name, entry, found)
        except OSError as error:
            self._failed.append(
                BundleFileError(
                    f"{name} cannot be read ({error.strerror or error}); expected the bytes whose "
                    "hash the manifest has; likely a failing disk, or a mount that is gone"
                )
            )
        except BaseException as error:  # raised again by whoever waits
            self._failed.append(error)


@contextmanager
def checking(
    folder: Path, entries: Mapping[str, FileEntry], record: Mapping[str, Any]
) -> Iterator[tuple[dict[str, Content], Hashing]]:
    """Check the sizes of files now, and their hashes while the block runs.

    Whoever leaves the block in peace has waited for the hashes. Raises as `check_content` does.
    """
    with ExitStack() as stack:
        contents: dict[str, Content] = {}
        unknown: list[tuple[FileIO, str, FileEntry]] = []
        for name, entry in entries.items():
            if entry.size <= _INLINE_BYTES:  # not kept open, however many there are
                contents[name] = check_content(folder, name, entry, record.get(name))
                continue
            file = stack.enter_context(open_regular(folder, name))
            contents[name], trusted = _sized(file, name, entry, record.get(name))
            if not trusted:
                unknown.append((file, name, entry))
        hashing = Hashing(unknown)
        try:
            yield contents, hashing
            hashing.wait()
        finally:
            hashing.stop()
