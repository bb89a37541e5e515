"""Latency and memory against tokens and batch, and how far from what the machine can do.

    python -m benchmarks scaling harmguard/models/mini guards/mini-fp32
    python -m benchmarks scaling harmguard/models/mini --quick

The floor is computed: the multiply-adds of the graph at the measured peak of large products, whose
calls alternate with the guard's. Needs the package onnx (extra `bench`) for the peak. One bundle a
recipe, each in a process of its own; one that fails is named, and the others go on.
"""

from __future__ import annotations

import argparse
import multiprocessing
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import results as _results
from benchmarks.harness.errors import WorkerError
from benchmarks.performance import _peak, _scaling_table
from benchmarks.runtimes.pool import SETTLE_S
from harmguard.bench import stats
from harmguard.bench.machine import artefact, describe
from harmguard.bench.memory import Peak
from harmguard.bundle import Bundle, open_bundle
from harmguard.errors import MemoryUnreadableError
from harmguard.prepared.prepare import prepare
from harmguard.runtime.heap import release_memory
from harmguard.runtime.session import Session

TOKENS = (8, 16, 32, 64, 128, 256, 512, 1024)
BATCHES = (1, 4, 16, 64)
PROFILED = (32, 128, 512)
LARGE_BYTES = 200_000_000
MOST, MOST_LARGE = 32_768, 4096
"""Tokens of a batch at most, and of a guard above LARGE_BYTES."""
CALLS, QUICK_CALLS = 7, 2
CELL_S = 1.5
KINDS, PEAK_CALLS = ("fp32", "int8"), 3
PASSES, PROFILED_CALLS = 2, 7
"""All lengths are profiled so many times; the faster one counts."""
LONG_CALL_S = 0.5
"""A call that takes longer is timed once, others PEAK_CALLS times, between profiled blocks."""
SEED = 23


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write the raw JSON, print the table."""
    options = _parser().parse_args(arguments)
    # Stopped from outside, it takes the process of a guard along.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    calls = QUICK_CALLS if options.quick else CALLS
    result: dict[str, Any] = {
        "benchmark": "scaling",
        "quick": options.quick,
        "started": _results.now(),
        "threads": options.threads,
        "machine": describe(),
        "read_gbs": round(_peak.read_gbs(options.threads), 1),
        "guards": [],
        "missing": {},
    }
    for folder in options.bundles:
        open_bundle(folder)  # so that what is wrong with it is said by name, before hours of others
    for folder in options.bundles:
        try:
            result["guards"].append(_in_own_process(folder, options, calls))
        except WorkerError as error:
            result["missing"][str(folder)] = str(error)
            _results.say(str(error))
        _results.keep(result, options)
    if not result["guards"]:
        raise WorkerError("; ".join(result["missing"].values()))
    _results.finish(result, options)
    print(_scaling_table.scaling(result))
    return 3 if result["missing"] else 0


def _in_own_process(folder: Path, options: argparse.Namespace, calls: int) -> dict[str, Any]:
    """So that no guard's memory is another one's. WorkerError if the process fails."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(sender, folder, options, calls), daemon=True)
    process.start()
    sender.close()
    try:
        found: dict[str, Any] = receiver.recv()
    except EOFError:
        process.join()
        raise WorkerError(
            f"scaling of {folder.name}: its process ended with exit status {process.exitcode}; "
            "its own message is on stderr, if it had one"
        ) from None
    process.join()
    return found


def _send(sender: Connection, folder: Path, options: argparse.Namespace, calls: int) -> None:
    sender.send(_guard(folder, options, calls))


def _guard(folder: Path, options: argparse.Namespace, calls: int) -> dict[str, Any]:
    """Cells of the grid, their fit, and the profile at some lengths."""
    bundle = open_bundle(folder)
    _results.say(f"{bundle.manifest.name}, {bundle.manifest.precision.recipe} ...")
    size = sum(entry.size for name, entry in bundle.manifest.files.items() if "onnx" in name)
    limit = bundle.manifest.input.max_tokens
    grid = shapes(limit, MOST_LARGE if size > LARGE_BYTES else MOST, quick=options.quick)
    copy = None if options.cache is None else prepare(bundle, options.cache).model
    session = Session(bundle, options.threads, copy)
    random = np.random.default_rng(SEED)
    smallest = feed(bundle, random, 1, min(TOKENS))
    cells = []
    for batch, tokens in grid:
        inputs = feed(bundle, random, batch, tokens)
        cells.append({"batch": batch, "tokens": tokens, **_cell(session, inputs, calls)})
        session.run(*smallest, shrink=True)
        release_memory()
    profiles: dict[str, dict[str, Any]] = {}
    profiled = QUICK_CALLS if options.quick else PROFILED_CALLS
    products = {kind: _peak.Products(kind, options.threads) for kind in KINDS}
    fastest: dict[str, float] = {}

    lengths = [n for n in PROFILED if n <= limit and (n < 512 or not options.quick)]
    for tokens in lengths * (1 if options.quick else PASSES):
        inputs = feed(bundle, random, 1, tokens)
        key = str(tokens)

        def between(inputs: tuple[Any, ...] = inputs, key: str = key) -> None:
            for one in products.values():
                one.time(PEAK_CALLS)
            time.sleep(SETTLE_S)
            for _ in range(PEAK_CALLS):
                before = time.perf_counter()
                session.run(*inputs)
                took = time.perf_counter() - before
                fastest[key] = min(fastest.get(key, took), took)
                if took > LONG_CALL_S:
                    break

        ids, mask, types = inputs
        named = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
        wanted = {name: named[name] for name in bundle.manifest.input.names}
        model = bundle.path("model.onnx")
        found = _peak.profile(model, wanted, options.threads, profiled, between)
        profiles[key] = min(profiles.get(key, found), found, key=_scaling_table.spent_ms)
    whole, row = _peak.bytes_read(bundle.path("model.onnx"))
    return {
        "bundle": artefact(bundle),
        "prepared": copy is not None,
        "bytes_read": {"whole": whole, "token": row},
        "cells": cells,
        "fit": fit(cells),
        "profile": profiles,
        "calls_ms": {key: round(1000 * took, 4) for key, took in fastest.items()},
        "peak_gops": {kind: round(one.gops, 1) for kind, one in products.items()},
    }


def shapes(limit: int, most: int, *, quick: bool) -> list[tuple[int, int]]:
    """Batch and tokens of each cell: tokens up to the model's limit, `most` in a batch."""
    return [
        (batch, tokens)
        for batch in (BATCHES[:2] if quick else BATCHES)
        for tokens in (TOKENS[:5] if quick else TOKENS)
        if tokens <= limit and batch * tokens <= most
    ]


def feed(bundle: Bundle, random: np.random.Generator, batch: int, tokens: int) -> tuple[Any, ...]:
    """Random ids of the vocabulary, a full mask, and types of zeros, int64 [batch, tokens]."""
    pad = bundle.manifest.input.pad_id
    ids = random.integers(pad + 1, pad + 25, (batch, tokens)).astype(np.int64)
    return ids, np.ones_like(ids), np.zeros_like(ids)


def _cell(session: Session, inputs: tuple[Any, ...], calls: int) -> dict[str, Any]:
    memory: dict[str, Any] = {}
    try:
        watch: Peak | None = Peak()
    except MemoryUnreadableError as error:
        watch, memory = None, {"memory_error": str(error)}
    with watch or nullcontext():
        before = time.perf_counter()
        session.run(*inputs)
    # The first call of a shape is not timed, unless it alone takes as long as a cell may.
    first = time.perf_counter() - before
    seconds = [first] if first > CELL_S else []
    while not seconds or (len(seconds) < calls and sum(seconds) < CELL_S):
        before = time.perf_counter()
        session.run(*inputs)
        seconds.append(time.perf_counter() - before)
    found = stats.summary([1000 * s for s in seconds])
    return {
        "ms": round(found.median, 4),
        "fastest_ms": round(1000 * min(seconds), 4),
        "n": found.n,
        "spread": round(found.spread, 4),
        "peak_anonymous_mb": None if watch is None or watch.mb is None else round(watch.mb, 1),
        **memory,
    }


def fit(cells: Sequence[dict[str, Any]]) -> dict[str, float]:
    """ms = call + token x (batch x tokens) + square x (batch x tokens^2), least relative error.

    Of the fastest calls. The three parts are what a call costs whatever its size, the products with
    weights, and the attention. `worst` is the largest relative error of the fit.
    """
    n = np.array([cell["tokens"] for cell in cells], np.float64)
    rows = np.array([cell["batch"] for cell in cells], np.float64) * n
    ms = np.array([cell["fastest_ms"] for cell in cells], np.float64)
    terms = np.stack([np.ones_like(n), rows, rows * n], axis=1) / ms[:, None]
    solved = np.linalg.lstsq(terms, np.ones_like(ms), rcond=None)[0]
    return {
        **dict(zip(("call_ms", "token_ms", "square_ms"), map(float, solved), strict=True)),
        "worst": float(np.abs(terms @ solved - 1).max()),
    }


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m benchmarks scaling", description=__doc__)
    made.add_argument("bundles", type=Path, nargs="+", metavar="BUNDLE", help="one a recipe")
    made.add_argument("--out", type=Path, help="raw JSON (default: results/scaling.json)")
    made.add_argument("--quick", action="store_true", help="few samples, to see that it runs")
    made.add_argument("--cache", type=Path, help="load prepared copies, kept in this folder")
    made.add_argument("--threads", type=int, default=2, help="threads of the model (default: 2)")
    return made


if __name__ == "__main__":
    raise SystemExit(_results.guarded(main))
