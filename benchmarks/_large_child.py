"""A fresh process with a prepared guard: its memory by state, or its clock up to the first score.

Run as a file by benchmarks.large with one JSON argument; prints one JSON line.
"""

import time

STARTED = time.monotonic()

import json  # noqa: E402
import sys  # noqa: E402


def main() -> None:
    """Load, score each pair in turn, and tell the clock and the anonymous memory after each."""
    import harmguard

    imported = time.monotonic()
    task = json.loads(sys.argv[1])
    guard = harmguard.HarmGuard(task["bundle"], threads=task["threads"], cache=task["cache"])
    loaded = time.monotonic()
    guard.score(*task["pairs"][0])
    scored = time.monotonic()
    found: dict[str, object] = {"started": STARTED, "imported": imported, "loaded": loaded}
    found["scored"] = scored
    if task["memory"]:
        from harmguard.bench.memory import read

        states = []
        for pair in task["pairs"]:
            for _ in range(3):
                guard.score(*pair)
            states.append({"anonymous": read().anonymous, "pss": read().pss})
        found["states"] = states
    print(json.dumps(found))


main()
