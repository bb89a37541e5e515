"""Starts a process per runtime and speaks to one at a time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks.harness.errors import WorkerError
from benchmarks.harness.results import ROOT
from harmguard.bench.memory import Memory, of_process

SETTLE_S = 0.4
"""Pause between two runtimes: the threads of the one before sleep then, and the host of a virtual
machine lets cores come together again that it moved apart while both were busy for seconds."""


class Worker:
    """One runtime in its own process; a context manager that ends it."""

    def __init__(self, runtime: str, threads: int, python: str = sys.executable) -> None:
        self.runtime = runtime
        self._process = subprocess.Popen(
            [python, "-m", "benchmarks.runtimes.worker", runtime],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            cwd=ROOT,
            env=environment(threads),
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests, self._replies = self._process.stdin, self._process.stdout

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._process.kill()
        # The worker reads to the end of its pipe, so closing it is the order to stop.
        with suppress(BrokenPipeError):  # it died with a request unread
            self._requests.close()
        self._process.wait()
        self._replies.close()

    def memory(self) -> Memory:
        """Memory of the process now; unknown where the system has no procfs."""
        return of_process(Path(f"/proc/{self._process.pid}"))

    def call(self, name: str, **arguments: Any) -> Any:
        """Ask and wait for the answer. WorkerError if the runtime fails or its process dies."""
        try:
            self._requests.write(json.dumps({"call": name, **arguments}) + "\n")
            self._requests.flush()
            line = self._replies.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise WorkerError(
                f"{self.runtime}: its process ended during {name!r} with exit status "
                f"{_status(self._process.wait())}; its own message is on stderr, if it had one"
            )
        reply = json.loads(line)
        if "error" in reply:
            raise WorkerError(f"{self.runtime}: {name!r} failed: {reply['error']}")
        return reply["ok"]


def _status(code: int) -> str:
    """An exit status, with the signal's name if it is one."""
    try:
        return f"{code} ({signal.Signals(-code).name})"
    except ValueError:
        return str(code)


def environment(threads: int) -> dict[str, str]:
    """The same number of threads for every library, and no network."""
    return os.environ | {
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "PYTHONPATH": os.pathsep.join(
            filter(None, [str(ROOT), str(ROOT / "export"), os.environ.get("PYTHONPATH")])
        ),
    }


def turns(names: Sequence[str], rounds: int) -> Iterator[tuple[int, str]]:
    """Round and name, so that each name runs once a round and each is first in turn.

    A pause of SETTLE_S before each.
    """
    for index in range(rounds if names else 0):
        shift = index % len(names)
        for name in [*names[shift:], *names[:shift]]:
            time.sleep(SETTLE_S)
            yield index, name
