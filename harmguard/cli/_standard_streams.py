"""Standard streams that are closed or full, and signals that end a command."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, BinaryIO

from harmguard.errors import InputError

# Each with the handler that Python, or the system, gave it.
_STOPPING: dict[str, Any] = {
    "SIGINT": signal.default_int_handler,
    "SIGTERM": signal.SIG_DFL,
    "SIGHUP": signal.SIG_DFL,
}


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


class Signals:
    """The signal that asked the command to end, if one did.

    Native code that calls Python may clear what a handler raises, or raise another error in its
    place. What is noted here outlives both.
    """

    received: int | None = None

    def raise_received(self) -> None:
        """Raise Stopped where a signal came, also when its own Stopped was lost on the way."""
        if self.received is not None:
            raise Stopped(self.received)

    def stop(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal: note it, and raise Stopped unless the clean-up is under way."""
        self.received = self.received or number
        error = sys.exc_info()[1]
        while error is not None and not isinstance(error, Stopped):
            error = error.__context__
        if error is None:
            raise Stopped(number)


SIGNALS = Signals()


@contextmanager
def stopping_signals() -> Iterator[Signals]:
    """SIGINT, SIGTERM and SIGHUP raise Stopped for the block, unless they are handled already."""
    before: dict[int, Any] = {}
    unraisable = sys.unraisablehook

    def say_unraisable(lost: Any) -> None:
        if not isinstance(lost.exc_value, Stopped):  # noted, and raised again
            unraisable(lost)

    if threading.current_thread() is threading.main_thread():
        for name, handler in _STOPPING.items():
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) == handler:
                before[number] = signal.signal(number, SIGNALS.stop)
        sys.unraisablehook = say_unraisable
    try:
        yield SIGNALS
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if sys.unraisablehook is say_unraisable:
            sys.unraisablehook = unraisable
        SIGNALS.received = None
