"""The 435M student's shape on a CPU: latency, memory, start-up and size against torch and optimum.

    python -m benchmarks._large_checkpoint WORK/checkpoint DATA
    harmguard export WORK/checkpoint WORK/int8 --recipe int8 --gate off
    harmguard export WORK/checkpoint WORK/int4 --recipe int4 --gate off
    python -m benchmarks.large WORK

Needs the extras `bench` and `export`, and memory and disk for all runtimes at once. The weights are
random: scores are kept in the raw file and judged by nothing, and no figure is about quality. Each
runtime is a process of its own, prepared copies for harmguard; one is awake at a time. Ratios are
given of medians and of the fastest runs: on a virtual machine two threads may for seconds take as
long as one.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import _peak, _results, _setup
from benchmarks._pool import Worker, environment, turns
from harmguard.bench import stats
from harmguard.bench.machine import artefact, describe
from harmguard.bench.text import TextMaker
from harmguard.bundle import open_bundle

# Many short rounds: a neighbour's burst of seconds then slows all runtimes of a round.
ROUNDS = {16: 15, 32: 15, 64: 13, 128: 11, 256: 9, 512: 7, 1024: 5}
CALLS, LIMIT_S = 2, 0.3
LINEAR_MACS = 302_000_000
"""Multiply-adds of the linear layers per token: 24 layers of 12 * 1024^2."""
STARTS, SEED = 9, 11
CHILD = Path(__file__).with_name("_large_child.py")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write the raw JSON, print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.large", description=__doc__)
    parser.add_argument("work", type=Path, help="holds checkpoint/, int8/ and int4/")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=_results.RESULTS / "large.json")
    parser.add_argument("--quick", action="store_true", help="few samples, to see that it runs")
    options = parser.parse_args(arguments)
    work, threads = options.work.resolve(), options.threads
    recipes = [name for name in ("int8", "int4") if (work / name).is_dir()]
    result: dict[str, Any] = {
        "benchmark": "large",
        "quick": options.quick,
        "started": _results.now(),
        "threads": threads,
        "machine": describe(),
        "bundles": {name: artefact(open_bundle(work / name)) for name in recipes},
        "bytes": {name: _bytes(work / name) for name in recipes},
    }
    texts = TextMaker(work / recipes[0] / "tokenizer.json", SEED)
    result["prepare"] = {name: _prepare(work, name) for name in recipes}
    pairs = {tokens: texts.pair(tokens - 3) for tokens in ROUNDS}
    result["start_up_s"] = {}
    result["memory_mb"] = {}
    for name in recipes:
        task = {"bundle": str(work / name), "cache": str(work / "cache" / name), "threads": threads}
        result["start_up_s"][name] = _starts(task, pairs[32], 3 if options.quick else STARTS)
        result["memory_mb"][name] = _memory(task, [pairs[128], pairs[512]])
    _results.write_json(options.out, result)
    if not (work / "optimum" / "model_quantized.onnx").is_file():
        _setup.export_optimum(work / "checkpoint", work / "optimum", threads)
    result["bytes"]["optimum"] = (work / "optimum" / "model_quantized.onnx").stat().st_size
    result |= _latency(work, recipes, pairs, threads, quick=options.quick)
    result["finished"] = _results.now()
    _results.write_json(options.out, result)
    print(table(result))
    return 0


def _bytes(folder: Path) -> dict[str, int]:
    files = {path.name: path.stat().st_size for path in folder.iterdir() if path.is_file()}
    return {"model": sum(v for k, v in files.items() if k.startswith("model.onnx")), **files}


def _prepare(work: Path, name: str) -> dict[str, float]:
    """Seconds of `harmguard prepare` from nothing, and what the copy takes beside the bundle."""
    bundle, cache = work / name, work / "cache" / name
    shutil.rmtree(cache, ignore_errors=True)
    command = [sys.executable, "-m", "harmguard", "prepare", str(bundle), "--cache", str(cache)]
    before = time.monotonic()
    subprocess.run(command, check=True, stdout=2, timeout=900)
    seconds = time.monotonic() - before
    more = _disk(bundle, cache) - _disk(bundle)
    return {"seconds": seconds, "cache_bytes": float(more)}


def _disk(*folders: Path) -> int:
    """Bytes that the folders' files take, hard links counted once."""
    paths = [path for folder in folders for path in folder.rglob("*")]
    taken = {path.stat().st_ino: path.stat().st_blocks for path in paths}
    return 512 * sum(taken.values())


def _child(task: dict[str, Any]) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(CHILD), json.dumps(task)],
        env=environment(task["threads"]), capture_output=True, text=True, check=True,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _starts(task: dict[str, Any], pair: tuple[str, str], count: int) -> dict[str, Any]:
    """Seconds from before the process exists to its first score."""
    seconds = []
    for _ in range(1 + count):
        before = time.monotonic()
        found = _child({**task, "pairs": [pair], "memory": False})
        seconds.append(found["scored"] - before)
    return asdict(stats.summary(seconds[1:]))


def _memory(task: dict[str, Any], pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Anonymous MB of the imports alone, and of the process after 128 and after 512 tokens."""
    code = (
        "import harmguard, harmguard.runtime.session; from harmguard.bench.memory import read;"
        "print(read().anonymous)"
    )
    command = [sys.executable, "-c", code]
    env = environment(task["threads"])
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    imports = float(done.stdout)
    found = _child({**task, "pairs": pairs, "memory": True})
    return {"imports": imports, "at_128": found["states"][0], "at_512": found["states"][1]}


def _latency(
    work: Path,
    recipes: Sequence[str],
    pairs: dict[int, tuple[str, str]],
    threads: int,
    *,
    quick: bool,
) -> dict[str, Any]:
    """Milliseconds of the bare model by length and runtime, rounds alternating."""
    runtimes = dict.fromkeys(recipes, "harmguard")
    runtimes |= {"optimum": "optimum", "optimum_fp32": "optimum_fp32", "torch": "torch"}
    found: dict[str, Any] = {"loads": {}, "lengths": []}
    with ExitStack() as stack:
        started = {n: stack.enter_context(Worker(k, threads)) for n, k in runtimes.items()}
        made = _setup.settings(work / recipes[0], work / "checkpoint", work / "optimum", threads)
        for name, worker in started.items():
            _results.say(f"loading {name} ...")
            own = {"bundle": str(work / name), "cache": str(work / "cache" / name)}
            loaded = worker.call("load", **made | (own if name in recipes else {}))
            made.setdefault("spinning", loaded.get("spinning", "1"))
            found["loads"][name] = {**loaded, "anonymous_mb": worker.memory().anonymous}
        found["spinning"] = made["spinning"]
        for tokens, pair in pairs.items():
            found["lengths"].append(_length(tokens, pair, started, quick))
        found["anonymous_mb"] = {name: w.memory().anonymous for name, w in started.items()}
        peaks = [_peak.peak_gops("int8", threads) for _ in range(3)]
        found["peak_int8_gops"] = max(peaks)
    return found


def _length(
    tokens: int, pair: tuple[str, str], started: dict[str, Worker], quick: bool
) -> dict[str, Any]:
    _results.say(f"{tokens} tokens ...")
    for worker in started.values():
        worker.call("pairs", pairs=[pair])
    encoded = {name: worker.call("encoded") for name, worker in started.items()}
    first = next(iter(encoded.values()))
    for name, ids in encoded.items():
        _setup.check_encoded(name, [one[0] for one in ids], [one[0] for one in first])
    rounds = 2 if quick else ROUNDS[tokens]
    seconds: dict[str, list[list[float]]] = {name: [] for name in started}
    for _, name in turns(list(started), rounds):
        seconds[name].append(started[name].call("time", mode="ids", calls=CALLS, limit_s=LIMIT_S))
    # Random weights: a runtime that is far from fp32 is still one that takes its time.
    scores = {name: worker.call("scores", mode="ids")[0] for name, worker in started.items()}
    return {
        "tokens": len(first[0][0]),
        "scores": scores,
        "ms": {n: asdict(stats.summary([1000 * s for s in stats.flat(t)]))
               for n, t in seconds.items()},
        "of_optimum": {n: asdict(stats.ratio(t, seconds["optimum"])) for n, t in seconds.items()},
        "of_torch": {n: asdict(stats.ratio(t, seconds["torch"])) for n, t in seconds.items()},
        "rounds_ms": {n: [[round(1000 * s, 2) for s in one] for one in t]
                      for n, t in seconds.items()},
    }  # fmt: skip


def table(result: dict[str, Any]) -> str:
    """The measured figures as Markdown."""
    names = list(result["loads"])
    pairs = [("int8", "optimum"), ("int8", "torch")]
    pairs += [("int4", "optimum")] if "int4" in names else []
    lines = [
        "| tokens | "
        + " | ".join(f"{n}, ms" for n in names)
        + " | "
        + " | ".join(f"{one} / {other}: medians, fastest" for one, other in pairs)
        + " |",
        "|" + "---|" * (1 + len(names) + len(pairs)),
    ]
    for one in result["lengths"]:
        cells = [f"{one['ms'][n]['median']:.0f} ({one['ms'][n]['spread']:.0%})" for n in names]
        fastest = {n: min(stats.flat(rounds)) for n, rounds in one["rounds_ms"].items()}
        for this, other in pairs:
            middle = one["ms"][this]["median"] / one["ms"][other]["median"]
            cells.append(f"{middle:.2f}, {fastest[this] / fastest[other]:.2f}")
        lines.append(f"| {one['tokens']} | {' | '.join(cells)} |")
    at_128 = next(one for one in result["lengths"] if one["tokens"] == 128)
    floor = 2 * LINEAR_MACS * 128 / result["peak_int8_gops"] / 1e6
    usual, best = at_128["ms"]["int8"]["median"], min(stats.flat(at_128["rounds_ms"]["int8"]))
    lines += [
        "",
        f"int8 at 128 tokens is {usual / floor:.2f} times, its fastest run {best / floor:.2f} "
        f"times its linear layers at {result['peak_int8_gops']:.0f} GOPS ({floor:.0f} ms). "
        "Percentages are (p90 - p10) / median.",
    ]
    for name, memory in result["memory_mb"].items():
        start = result["start_up_s"][name]
        lines.append(
            f"{name}: model {result['bytes'][name]['model'] / 1e6:.0f} MB; anonymous memory "
            f"{memory['imports']:.0f} MB of imports, {memory['at_128']['anonymous']:.0f} at 128 "
            f"tokens, {memory['at_512']['anonymous']:.0f} at 512; process start to first score "
            f"{start['median']:.2f} s (n {start['n']}); prepare {result['prepare'][name]}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(_results.guarded(main))
