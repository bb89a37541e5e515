"""A fresh process that loads a guard and scores, and prints when and in how much memory.

    python -m benchmarks._startup_child start BUNDLE THREADS PROMPT RESPONSE
    python -m benchmarks._startup_child memory BUNDLE THREADS PAIRS.json

Started by benchmarks.startup. The first clock reading comes before any other import.
"""

import time

STARTED = time.monotonic()

import json  # noqa: E402
import sys  # noqa: E402
from typing import Any  # noqa: E402


def start(bundle: str, threads: str, prompt: str, response: str) -> dict[str, Any]:
    """Clock readings (monotonic, s): process up, harmguard imported, guard loaded, first score."""
    before = time.monotonic()
    import harmguard

    imported = time.monotonic()
    guard = harmguard.HarmGuard(bundle, threads=int(threads))
    loaded = time.monotonic()
    score = guard.score(prompt, response)
    return {
        "started": STARTED,
        "before_import": before,
        "imported": imported,
        "loaded": loaded,
        "scored": time.monotonic(),
        "score": score,
    }


def memory(bundle: str, threads: str, pairs_file: str) -> dict[str, float | None]:
    """Anonymous memory in MB along the life of a guard; None where the system does not tell.

    The file holds a short pair first, then long ones.
    """
    from benchmarks._memory import Peak, anonymous_mb

    with open(pairs_file, encoding="utf-8") as file:
        short, *long = [(prompt, response) for prompt, response in json.load(file)]
    import harmguard

    found = {"import": anonymous_mb()}
    guard = harmguard.HarmGuard(bundle, threads=int(threads))
    found["load"] = anonymous_mb()
    guard.score(*short)
    found["first_score"] = anonymous_mb()
    guard.score(*long[0])
    found["long_score"] = anonymous_mb()
    with Peak() as peak:
        guard.score_many(long)
    found["batch_peak"] = peak.mb
    found["after_batch"] = anonymous_mb()
    return found


if __name__ == "__main__":
    kind, *arguments = sys.argv[1:]
    print(json.dumps(start(*arguments) if kind == "start" else memory(*arguments)))
