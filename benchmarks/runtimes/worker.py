"""The process of one runtime: it sleeps on stdin until it is asked, then answers one line.

Started by `pool` as ``python -m benchmarks.runtimes.worker RUNTIME``. A request is one JSON
line ``{"call": NAME, ...arguments}``, a reply ``{"ok": VALUE}`` or ``{"error": MESSAGE}``.
Between requests the process is blocked in a read, so it takes no CPU from the one that is timed.
"""

from __future__ import annotations

import gc
import json
import math
import os
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

import numpy as np

from benchmarks.runtimes.backends import BACKENDS, Backend, Pair, probability
from benchmarks.runtimes.converted import PEER_BACKENDS

WARM_S = 1.0


class Server:
    """Answers the calls of the protocol with one runtime."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._pairs: list[tuple[str, str]] = []
        self._temperature = 1.0
        self._last_s = 0.0

    def load(self, **settings: Any) -> dict[str, Any]:
        """Load the model; the reply says what the runtime was set to, and the seconds it took."""
        self._temperature = settings["temperature"]
        start = time.perf_counter()
        loaded = self._backend.load(settings)
        return {**loaded, "call_s": time.perf_counter() - start}

    def convert(self, **settings: Any) -> list[str]:
        """Write what the runtime loads; the files whose size counts."""
        return self._backend.convert(settings)

    def pairs(self, pairs: list[list[str]]) -> int:
        """Keep the pairs that the later calls are about."""
        self._pairs = [(prompt, response) for prompt, response in pairs]
        self._last_s = 0.0
        return len(self._pairs)

    def encoded(self) -> list[list[list[int]]]:
        """Ids and types of every pair, as this runtime's tokenizer makes them."""
        return [[part.tolist() for part in self._backend.encode(*pair)] for pair in self._pairs]

    def scores(self, mode: str) -> list[float]:
        """One by one, from text or from ids; both end in the same softmax."""
        call = self._call(mode)
        return [call(index) for index in range(len(self._pairs))]

    def time(self, mode: str, calls: int, limit_s: float = math.inf) -> list[float]:
        """Seconds of each of `calls` calls, over the pairs in turn, after one untimed call.

        No call begins after `limit_s`, but the first. Where the last turn's calls took over
        WARM_S, caches matter little, and the untimed one is left out.
        """
        call = self._call(mode)
        gc.collect()
        if self._last_s < WARM_S:
            call(0)
        seconds: list[float] = []
        while len(seconds) < calls and (not seconds or sum(seconds) < limit_s):
            start = time.perf_counter()
            call(len(seconds) % len(self._pairs))
            seconds.append(time.perf_counter() - start)
        self._last_s = seconds[-1]
        return seconds

    def bulk(self, batch: int, stride: int = 1, first: int = 0) -> dict[str, Any]:
        """Seconds and scores of every `stride`-th pair in batches; batch 0 is the runtime's own."""
        return self._timed(lambda pairs: self._backend.score_many(pairs, batch), stride, first)

    def one_by_one(self, stride: int = 1, first: int = 0) -> dict[str, Any]:
        """Seconds and scores of every `stride`-th pair, a call for each."""
        score = self._backend.score
        return self._timed(lambda pairs: [score(*pair) for pair in pairs], stride, first)

    def _timed(
        self, score: Callable[[list[Pair]], list[float]], stride: int, first: int
    ) -> dict[str, Any]:
        pairs = self._pairs[first::stride]
        gc.collect()
        start = time.perf_counter()
        scores = score(pairs)
        return {"seconds": time.perf_counter() - start, "scores": scores}

    def _call(self, mode: str) -> Callable[[int], float]:
        if mode == "text":
            return lambda index: self._backend.score(*self._pairs[index])
        feeds = [
            self._backend.feed(ids[np.newaxis], types[np.newaxis])
            for ids, types in (self._backend.encode(*pair) for pair in self._pairs)
        ]
        run = self._backend.run
        return lambda index: probability(run(feeds[index]), self._temperature)[0]


CALLS = ("load", "convert", "pairs", "encoded", "scores", "time", "bulk", "one_by_one")


def serve(server: Server, requests: TextIO, replies: TextIO) -> None:
    """Answer requests until the parent closes the pipe."""
    for line in requests:
        reply: dict[str, Any]
        try:
            request = json.loads(line)
            name = request.pop("call")
            if name not in CALLS:
                raise ValueError(f"unknown call {name!r}; expected one of {', '.join(CALLS)}")
            reply = {"ok": getattr(server, name)(**request)}
        except Exception as error:  # any failure of a runtime is the parent's to report
            reply = {"error": f"{type(error).__name__}: {error}"}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


def main() -> int:
    """Serve the runtime named in the argument."""
    # Libraries print to stdout; the replies go through a copy that only this file knows.
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    serve(Server({**BACKENDS, **PEER_BACKENDS}[sys.argv[1]]()), sys.stdin, replies)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
