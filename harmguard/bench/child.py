"""A process that is measured; `fresh_processes` starts it and reads its last line.

Run as a file, not as a module: a module's package would be imported before the clock starts.
The first clock reading comes before any other import.
"""

import time

STARTED = time.perf_counter()

import json  # noqa: E402
import sys  # noqa: E402
from typing import Any  # noqa: E402

TENTH_S = 0.1


def start(task: dict[str, Any]) -> dict[str, Any]:
    """Clock readings (perf_counter, s): up, harmguard imported, guard loaded, first score."""
    import harmguard

    imported = time.perf_counter()
    guard = harmguard.HarmGuard(task["bundle"], threads=task["threads"])
    loaded = time.perf_counter()
    guard.score(*task["pairs"][0])
    return {
        "started": STARTED,
        "imported": imported,
        "loaded": loaded,
        "scored": time.perf_counter(),
    }


def memory(task: dict[str, Any]) -> dict[str, Any]:
    """Memory in MB once the state `task["state"]` is reached, and the peak on the way there.

    States: "import", "load" and "score"; the last scores the task's pairs, by `score` if there
    is one, else by `score_many`. With `task["callers"]` above 1 so many threads do it at once,
    and the memory is that of a second later.
    """
    from dataclasses import asdict

    import harmguard
    from harmguard.bench.memory import Peak, read

    with Peak() as peak:
        if task["state"] != "import":
            guard = harmguard.HarmGuard(task["bundle"], threads=task["threads"])
        if task["state"] == "score":
            _score_in_threads(guard, task["pairs"], task.get("callers", 1))
    found = read()
    # The end may be the peak, and lie between two samples.
    highest = None if peak.mb is None else max(peak.mb, found.anonymous or 0.0)
    return {**asdict(found), "peak_anonymous": highest}


def idle(task: dict[str, Any]) -> dict[str, Any]:
    """Milliseconds of the processor for each of some calls, a tenth of a second between them."""
    import harmguard

    guard = harmguard.HarmGuard(task["bundle"], threads=task["threads"])
    pair = task["pairs"][0]
    guard.score(*pair)
    time.sleep(TENTH_S)
    before = time.process_time()
    for _ in range(task["calls"]):
        guard.score(*pair)
        time.sleep(TENTH_S)
    return {"cpu_ms": 1000 * (time.process_time() - before) / task["calls"]}


def small(task: dict[str, Any]) -> dict[str, Any]:
    """Seconds of calls on one core within `task["limit_mb"]` of private memory."""
    # _session loads onnxruntime, whose data segments are reserved and hardly touched: before the
    # bound is set, which counts what is reserved later.
    import harmguard.runtime.session
    from harmguard.bench.small_device import limit_memory, one_core

    cores = 1 if one_core() else None
    limited = task["limit_mb"] is not None and limit_memory(task["limit_mb"])
    guard = harmguard.HarmGuard(task["bundle"], threads=1)
    if limited:  # again: what loading has asked for, touched and given back is reserved, not used
        limit_memory(task["limit_mb"])
    _score(guard, task["pairs"])
    seconds: dict[str, list[float]] = {}
    for tokens, pair in task["timed"].items():
        guard.score(*pair)
        seconds[tokens] = []
        for _ in range(task["calls"]):
            before = time.perf_counter()
            guard.score(*pair)
            seconds[tokens].append(time.perf_counter() - before)
    return {"cores": cores, "limited": limited, "seconds": seconds}


def _score_in_threads(guard: Any, pairs: list[list[str]], callers: int) -> None:
    if callers == 1:
        _score(guard, pairs)
        return
    import threading

    threads = [threading.Thread(target=_score, args=(guard, pairs)) for _ in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    time.sleep(1)


def _score(guard: Any, pairs: list[list[str]]) -> None:
    if len(pairs) == 1:
        guard.score(*pairs[0])
    else:
        guard.score_many(pairs)


def main() -> int:
    """Do the task on stdin; the result, or the named error, is the last line of stdout."""
    task = json.load(sys.stdin)
    tasks = {"start": start, "memory": memory, "small": small, "idle": idle}
    try:
        result = tasks[task["task"]](task)
    except Exception as error:  # whatever stops it is for the parent to report
        result = {"error": f"{type(error).__name__}: {error}"}
    sys.stdout.write(json.dumps(result) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
