"""Native code under way: how much of it runs at once, and what happens when the process ends.

A thread that is inside the runtime or the tokenizer while the interpreter is torn down takes the
process along (SIGABRT): Python ends such a thread by unwinding its stack, through code that does
not allow it. So the end is waited for here, where threads can still be told.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from harmguard.errors import GuardClosedError

EXIT_S = 2.0
"""How long the end of the process waits for what is under way."""
_STOP_S = 1.5  # what still runs by then is asked to stop, which takes as long as one operator
_SAY_S = 0.05  # for the threads that were refused to say so: none may write while all is torn down

_changed = threading.Condition()
_under_way = 0
_ending = False
_stops: list[Callable[[], None]] = []


@contextmanager
def under_way() -> Iterator[None]:
    """Native code for the time of the block.

    Raises GuardClosedError where the process is ending, before the block or after it.
    """
    global _under_way
    with _changed:
        refuse_at_exit()
        _under_way += 1
    try:
        yield
    finally:
        with _changed:
            _under_way -= 1
            if not _under_way:
                _changed.notify_all()
    refuse_at_exit()


def refuse_at_exit() -> None:
    """Raise GuardClosedError if the process is ending."""
    if _ending:
        raise GuardClosedError(
            "the process is ending; expected calls before its end; likely a daemon thread: stop "
            "it, and join it, before the program ends"
        )


def stop_at_exit(stop: Callable[[], None]) -> None:
    """Have `stop` called for what is still under way shortly before the end."""
    _stops.append(stop)


class Slots:
    """So many holders at once; who waits comes in the order of arrival."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting: deque[threading.Lock] = deque()
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            if self._free:
                self._free -= 1
                return
            turn = threading.Lock()
            turn.acquire()
            self._waiting.append(turn)
        try:
            turn.acquire()
        except BaseException:  # Ctrl-C while waiting
            with self._lock:
                given = turn not in self._waiting
                if not given:
                    self._waiting.remove(turn)
            if given:
                self._give()
            raise

    def __exit__(self, *_: object) -> None:
        self._give()

    def _give(self) -> None:
        with self._lock:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._free += 1


def _end() -> None:
    """Refuse new calls, wait for those under way, and tell their threads."""
    global _ending
    with _changed:
        _ending = True
        if not _under_way:
            return
        if not _changed.wait_for(lambda: not _under_way, _STOP_S):
            for stop in _stops:
                with suppress(Exception):  # it only hastens the end
                    stop()
            _changed.wait_for(lambda: not _under_way, EXIT_S - _STOP_S)
    time.sleep(_SAY_S)


def _forget_after_fork() -> None:
    global _changed, _under_way
    # The threads that counted, or held the lock, are in the parent only.
    _changed, _under_way = threading.Condition(), 0


# Handlers run in reverse order: what a program registers after its imports may still score.
atexit.register(_end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
