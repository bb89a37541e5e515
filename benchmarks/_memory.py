"""Memory of the calling process, where Linux tells it."""

from __future__ import annotations

import re
import threading
from types import TracebackType

SAMPLE_S = 0.005


def anonymous_mb(status: str | None = None) -> float | None:
    """RssAnon in MB: what no file backs, so what the process alone costs. None if unknown.

    `status` is the text of /proc/self/status, read here when not given.
    """
    if status is None:
        try:
            with open("/proc/self/status", encoding="utf-8") as file:
                status = file.read()
        except OSError:
            return None
    found = re.search(r"^RssAnon:\s+(\d+) kB", status, re.MULTILINE)
    return int(found[1]) / 1024 if found else None


class Peak:
    """Samples anonymous memory every 5 ms while the block runs; `mb` is the highest, or None."""

    def __init__(self) -> None:
        self.mb = anonymous_mb()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Peak:
        if self.mb is not None:
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(SAMPLE_S):
            self.mb = max(self.mb or 0.0, anonymous_mb() or 0.0)
