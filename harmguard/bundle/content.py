"""The files of a bundle: their sizes bounded before they are read, and hashed as they are read.

What is small and decides much (graph, tokenizer) is kept as the bytes that were hashed. Of large
files it is remembered which file was hashed, so that whoever opens it again can tell.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
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
    stopped: Callable[[], bool] = lambda: False,
) -> Content:
    """Check size and hash of one file; with `keep` its bytes are returned too.

    A file of HASHED_AT_LOAD_BYTES and more whose `record` is that of the file on disk is not
    hashed. Raises BundleFileError, or UnsafePathError for what is not a file.
    """
    with open_regular(folder, name) as file:
        found = identity(file)
        if found.size != entry.size:
            cause = "a truncated download or an altered file"
            if read_up_to(file, len(_LFS)) == _LFS:
                cause = "a git-lfs pointer in place of the file: run `git lfs pull`"
            raise BundleFileError(
                f"{name} has {found.size:,} bytes; expected {entry.size:,}; likely {cause}"
            )
        current = {"size": entry.size, "mtime_ns": found.mtime_ns, "sha256": entry.sha256}
        trusted = entry.size >= HASHED_AT_LOAD_BYTES and record == current
        data = read_exactly(file, name, entry.size) if keep else None
        if data is not None and not trusted:
            check_hash(name, entry, hashlib.sha256(data).hexdigest())
        elif not trusted:
            check_hash(name, entry, hash_exactly(file, name, entry.size, stopped))
        return Content(current, found, data)


def check_hash(name: str, entry: FileEntry, found: str) -> None:
    """Raise BundleFileError unless `found` is the sha256 that the manifest says."""
    if found != entry.sha256:
        raise BundleFileError(
            f"{name} has sha256 {found[:12]}...; expected {entry.sha256[:12]}...; "
            "likely a damaged download or a file changed after the bundle was written"
        )


@contextmanager
def checking(
    folder: Path, entries: Mapping[str, FileEntry], record: Mapping[str, Any]
) -> Iterator[Callable[[], dict[str, Content]]]:
    """Check files while the block runs, large ones in a thread; the value waits for the result.

    Hashing leaves Python to others, so a second core does it for free.
    """
    checked: dict[str, Content] = {}
    failed: list[BaseException] = []
    stop = threading.Event()

    def work() -> None:
        try:
            for name, entry in entries.items():
                known = record.get(name)
                checked[name] = check_content(folder, name, entry, known, stopped=stop.is_set)
        except BaseException as error:  # raised again by whoever waits
            failed.append(error)

    thread = None
    if sum(entry.size for entry in entries.values()) > _INLINE_BYTES:
        thread = threading.Thread(target=work, daemon=True, name="harmguard-hash")
        try:
            thread.start()
        except RuntimeError:  # no thread to be had
            thread = None

    def result() -> dict[str, Content]:
        if thread is None:
            work()
        else:
            thread.join()
        if failed:
            raise failed[0]
        return checked

    try:
        yield result
    finally:
        stop.set()
        if thread is not None:
            thread.join()
