"""Standard streams that are closed or full, and signals that end a command."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, BinaryIO, NoReturn

from harmguard.errors import InputError

_STOPPING = ("SIGTERM", "SIGHUP")


class Stopped(KeyboardInterrupt):
    """A signal asks to end: what cleans up at Ctrl-C does at this, too."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


class _Forgiving:
    """A stream of messages: what cannot be written is lost, and stops nothing."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, if that is possible."""
        with suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush, if that is possible."""
        with suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def standard_streams() -> Iterator[bool]:
    """Streams to read from and write to for the block; yields whether standard output is open.

    A closed one is the null device, so that no file that is opened later takes its number and
    with it whatever a library prints.
    """
    before = sys.stdin, sys.stdout, sys.stderr
    # Closed from the start of the process. One that was exchanged in it is its owner's.
    for number in range(3):
        with suppress(OSError):
            _reserve(number)
    opened = before[1] is not None
    if not opened:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")
    sys.stderr = _Forgiving(before[2] or open(os.devnull, "w", encoding="utf-8"))
    try:
        yield opened
    finally:
        if not opened:
            sys.stdout.close()
        sys.stdin, sys.stdout, sys.stderr = before
        if sys.stderr is not None:
            drop_unwritten(sys.stderr)


def _reserve(number: int) -> None:
    try:
        os.fstat(number)
    except OSError:
        opened = os.open(os.devnull, os.O_RDWR)
        if opened != number:
            os.dup2(opened, number)
            os.close(opened)


def drop_unwritten(stream: Any) -> None:
    """Flush a standard stream; what cannot be written is dropped.

    Python flushes once more at its end, and would change the exit status to 120.
    """
    try:
        stream.flush()
    except (OSError, ValueError):
        with suppress(OSError, ValueError, AttributeError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)
            stream.flush()


def input_bytes() -> BinaryIO:
    """Standard input as a binary file; InputError where it is closed."""
    if sys.stdin is None:
        raise InputError("standard input is closed; expected a text, or rows, from it")
    return sys.stdin.buffer


@contextmanager
def stopping_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP raise Stopped for the block, unless they are ignored already."""

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        for other in before:
            signal.signal(other, signal.SIG_IGN)  # the clean-up is under way
        raise Stopped(number)

    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for name in _STOPPING:
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) == signal.SIG_DFL:
                before[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
