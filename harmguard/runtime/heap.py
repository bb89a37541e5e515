"""Memory that was freed goes back to the system, where the C library (glibc) would keep it.

glibc has a heap for each thread that allocates, and keeps what is free at a heap's end up to a
threshold, which grows with the largest block that was ever freed: tens of MB for each thread that
has scored a long text. `malloc_trim` gives back all else, but of other heaps than the first not
that end. So the threshold is lowered for a moment, and a block freed in each of the heaps.
"""

from __future__ import annotations

import ctypes
import os
import threading
from typing import Any

_TRIM_THRESHOLD = -1  # M_TRIM_THRESHOLD of <malloc.h>
_LOW = 128 * 1024
_USUAL = 32 * 1024 * 1024  # where the threshold ends up by itself with tensors of 16 MB
_BLOCK = 96 * 1024  # from 64 KB on a freed block makes glibc look at the heap's end

_lock = threading.Lock()
_blocks: dict[int, int] = {}


def _library() -> Any:
    """The C library, if it is glibc and its user has not set the threshold; else None."""
    chosen = "MALLOC_TRIM_THRESHOLD_" in os.environ
    chosen |= "trim_threshold" in os.environ.get("GLIBC_TUNABLES", "")
    found = ctypes.CDLL(None) if os.name == "posix" else None
    if found is None or chosen or not hasattr(found, "gnu_get_libc_version"):
        return None
    found.malloc.restype, found.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    found.free.restype, found.free.argtypes = None, [ctypes.c_void_p]
    return found


_glibc = _library()


def mark_heap() -> None:
    """Note that this thread's heap is one to give back from."""
    thread = threading.get_ident()
    if _glibc is None or thread in _blocks:
        return
    with _lock:
        block = _glibc.malloc(_BLOCK)
        if block:
            _blocks[thread] = block


def release_marked() -> None:
    """Give back what is free in the marked heaps, and forget them."""
    if _glibc is not None:
        with _lock:
            _glibc.mallopt(_TRIM_THRESHOLD, _LOW)
            while _blocks:
                _glibc.free(_blocks.popitem()[1])
            _glibc.mallopt(_TRIM_THRESHOLD, _USUAL)
    release_memory()


def release_memory() -> None:
    """Give back what is free in the first heap, and in holes of the others."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(0)


def _forget_after_fork() -> None:
    global _lock
    # Its holder may be a thread of the parent; what it guards is whole between two statements.
    _lock = threading.Lock()
    _blocks.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
