"""Latency and memory against tokens and batch, and how far from what the machine can do.

    python -m benchmarks scaling harmguard/models/mini guards/mini-fp32

The floor is computed: the multiply-adds of the graph at the measured peak of large products, whose
calls alternate with the guard's. Needs the package onnx (extra `bench`) for the peak. One bundle
for each recipe, each in a process of its own; one that fails is named, and the others go on.
"""

from __future__ import annotations

import argparse
import multiprocessing
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.cells import digest
from benchmarks.harness.command import Benchmark, Part, takes_threads
from benchmarks.harness.errors import WorkerError
from benchmarks.harness.results import Run, say
from benchmarks.performance import _peak, _roofline
from benchmarks.performance._peak import Kernel
from benchmarks.performance._roofline import Cell, Fit, Guard, Scaling
from benchmarks.runtimes.pool import SETTLE_S
from harmguard.bench import stats
from harmguard.bench.machine import artefact
from harmguard.bench.markdown import table
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
PEAK_CALLS = 3
PASSES, PROFILED_CALLS = 2, 7
"""All lengths are profiled so many times; the faster one counts."""
LONG_CALL_S = 0.5
"""A call that takes longer is timed once, others PEAK_CALLS times, between profiled blocks."""
SEED = 23


def arguments(parser: argparse.ArgumentParser) -> None:
    """Bundles, and a cache."""
    parser.add_argument("bundles", type=Path, nargs="+", metavar="BUNDLE", help="of each recipe")
    parser.add_argument("--cache", type=Path, help="load prepared copies, kept in this folder")
    takes_threads(parser)


def measure(run: Run) -> Scaling:
    """One bundle after the other. WorkerError if all fail."""
    # Stopped from outside, it takes the process of a guard along.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    gbs = round(_peak.read_gbs(run.options.threads), 1)
    figures: Scaling = {"read_gbs": gbs, "guards": [], "missing": {}}
    for folder in run.options.bundles:
        open_bundle(folder)  # so that what is wrong with it is said by name, before hours of others
    for folder in run.options.bundles:
        try:
            figures["guards"].append(_in_own_process(folder, run.options))
        except WorkerError as error:
            figures["missing"][str(folder)] = str(error)
            say(str(error))
        run.keep(figures)
    if not figures["guards"]:
        raise WorkerError("; ".join(figures["missing"].values()))
    return figures


def _in_own_process(folder: Path, options: argparse.Namespace) -> Guard:
    """So that no guard's memory is another one's. WorkerError if the process fails."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(sender, folder, options), daemon=True)
    process.start()
    sender.close()
    try:
        guard: Guard = receiver.recv()
    except EOFError:
        process.join()
        raise WorkerError(
            f"scaling of {folder.name}: its process ended with exit status {process.exitcode}; "
            "its own message is on stderr, if it had one"
        ) from None
    process.join()
    return guard


def _send(sender: Connection, folder: Path, options: argparse.Namespace) -> None:
    sender.send(_guard(folder, options))


def _guard(folder: Path, options: argparse.Namespace) -> Guard:
    """Cells of the grid, their fit, and the profile at some lengths."""
    bundle = open_bundle(folder)
    say(f"{bundle.manifest.name}, {bundle.manifest.precision.recipe} ...")
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
        cells.append(_cell(session, inputs, QUICK_CALLS if options.quick else CALLS))
        session.run(*smallest, shrink=True)
        release_memory()
    profiles: dict[str, dict[str, Kernel]] = {}
    products = {kind: _peak.Products(kind, options.threads) for kind in ("fp32", "int8")}
    fastest: dict[str, float] = {}

    lengths = [n for n in PROFILED if n <= limit and (n < 512 or not options.quick)]
    for tokens in lengths * (1 if options.quick else PASSES):
        inputs = feed(bundle, random, 1, tokens)
        key = str(tokens)

        def between(inputs: tuple[Any, ...] = inputs, key: str = key) -> None:
            for product in products.values():
                product.time(PEAK_CALLS)
            time.sleep(SETTLE_S)
            for _ in range(PEAK_CALLS):
                before = time.perf_counter()
                session.run(*inputs)
                took = time.perf_counter() - before
                fastest[key] = min(fastest.get(key, took), took)
                if took > LONG_CALL_S:
                    break

        named = dict(zip(("input_ids", "attention_mask", "token_type_ids"), inputs, strict=True))
        profile = _peak.profile(
            bundle.path("model.onnx"),
            {name: named[name] for name in bundle.manifest.input.names},
            options.threads,
            QUICK_CALLS if options.quick else PROFILED_CALLS,
            between,
        )
        profiles[key] = min(profiles.get(key, profile), profile, key=_roofline.spent_ms)
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


def _cell(session: Session, inputs: tuple[Any, ...], calls: int) -> Cell:
    refused: str | None = None
    try:
        watch: Peak | None = Peak()
    except MemoryUnreadableError as error:
        watch, refused = None, str(error)
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
    summary = stats.summary([1000 * s for s in seconds])
    batch, tokens = inputs[0].shape
    cell: Cell = {
        "batch": batch,
        "tokens": tokens,
        "ms": round(summary.median, 4),
        "fastest_ms": round(1000 * min(seconds), 4),
        "n": summary.n,
        "spread": round(summary.spread, 4),
        "peak_anonymous_mb": None if watch is None or watch.mb is None else round(watch.mb, 1),
    }
    if refused:
        cell["memory_error"] = refused
    return cell


def fit(cells: Sequence[Cell]) -> Fit:
    """The three terms with the least relative error, of the fastest calls.

    They are what a call costs whatever its size, the products with weights, and the attention.
    """
    n = np.array([cell["tokens"] for cell in cells], np.float64)
    rows = np.array([cell["batch"] for cell in cells], np.float64) * n
    ms = np.array([cell["fastest_ms"] for cell in cells], np.float64)
    terms = np.stack([np.ones_like(n), rows, rows * n], axis=1) / ms[:, None]
    solved = np.linalg.lstsq(terms, np.ones_like(ms), rcond=None)[0]
    call, token, square = map(float, solved)
    worst = float(np.abs(terms @ solved - 1).max())
    return {"call_ms": call, "token_ms": token, "square_ms": square, "worst": worst}


def tables(result: Scaling) -> str:
    """Latency by tokens and batch, the distance from the limit, and where it goes."""
    parts = [
        f"Measured peak of large products, between the calls of each guard: {_peaks(result)}; a "
        f"product of one row reads {result['read_gbs']:.1f} GB/s. Call: the fastest of the grid "
        "and of those beside the products. "
        "Floor: the multiply-adds at the guard's own peak. MB read: the weights as the file has "
        "them, once, and a row of the embedding table a token; reading: at the measured rate, "
        "which caches exceed. Largest parts: shares of all kernels' time, of the bundle's own "
        "graph, each node's fastest call.",
        *(f"Missing: {name}: `{why}`" for name, why in result["missing"].items()),
    ]
    for guard in result["guards"]:
        loaded = "its prepared copy" if guard["prepared"] else "the bundle as it is"
        parts += [
            f"**{_roofline.title(guard)}** (guard.json sha256 `{digest(guard['bundle'])}`, "
            f"{loaded}): ms a batch",
            *(_grid(guard), _fit(guard["fit"])),
            *("How far from the limit, one text at a time:", _limits(guard, result["read_gbs"])),
        ]
    return "\n\n".join(parts)


def _peaks(result: Scaling) -> str:
    """Lowest and highest GOPS of each kind."""
    peaks = {k: [guard["peak_gops"][k] for guard in result["guards"]] for k in ("fp32", "int8")}
    return ", ".join(f"{min(p):.0f} to {max(p):.0f} GOPS in {k}" for k, p in peaks.items())


def _grid(guard: Guard) -> str:
    batches = sorted({cell["batch"] for cell in guard["cells"]})
    tokens = sorted({cell["tokens"] for cell in guard["cells"]})
    by = {(cell["batch"], cell["tokens"]): cell for cell in guard["cells"]}
    rows = [[str(n), *(_shown(by.get((batch, n))) for batch in batches)] for n in tokens]
    grid = table(["tokens", *(f"batch {batch}" for batch in batches)], rows)
    note = "In brackets: peak of anonymous memory during the call, MB."
    if any(cell["n"] == 1 for cell in guard["cells"]):
        note += " *: a single call, the first of its shape; else a median of 2 to 7."
    refused = {cell["memory_error"] for cell in guard["cells"] if "memory_error" in cell}
    return "\n\n".join([grid, note, *sorted(refused)])


def _shown(cell: Cell | None) -> str:
    if cell is None:
        return "-"
    memory = cell["peak_anonymous_mb"]
    once = "*" if cell["n"] == 1 else ""
    return f"{cell['ms']:.1f}{once} ({'unknown' if memory is None else format(memory, '.0f')})"


def _fit(terms: Fit) -> str:
    return (
        f"Fit of the fastest calls: {terms['call_ms']:.2f} ms a call + "
        f"{1000 * terms['token_ms']:.1f} us a token + "
        f"{1e6 * terms['square_ms']:.0f} ns a token and token of its text; "
        f"off by {terms['worst']:.0%} at most."
    )


def _limits(guard: Guard, read_gbs: float) -> str:
    rows = []
    for tokens, profile in guard["profile"].items():
        total, call = _roofline.spent_ms(profile), _roofline.call_ms(guard, tokens)
        floor, read = _roofline.floor_ms(guard, tokens), _roofline.read_mb(guard, tokens)
        rows.append(
            [
                tokens,
                f"{_roofline.macs(guard, tokens) / 1e6:.0f}",
                f"{floor:.2f}",
                f"{read:.1f}",
                f"{read / read_gbs:.2f}",
                f"{call:.2f}",
                f"{call / floor:.1f}" if floor else "-",
                ", ".join(f"{k} {c['ms'] / total:.0%}" for k, c in list(profile.items())[:4]),
            ]
        )
    head = ["tokens", "million multiply-adds", "floor, ms", "MB read", "reading, ms"]
    return table([*head, "call, ms", "call / floor", "largest parts"], rows)


def ratios(result: Scaling) -> Iterator[tuple[str, float]]:
    """What two runs must agree on."""
    for guard in result["guards"]:
        about = guard["bundle"]
        for tokens in guard["profile"]:
            floor = _roofline.floor_ms(guard, tokens)
            if floor:
                times = _roofline.call_ms(guard, tokens) / floor
                yield f"{about['name']} {about['recipe']} / floor, {tokens} tokens", times


PLACES = [Part(4, 540, 10, "{bundle} {recipes} --cache {prepared}")]
COMMAND = Benchmark(
    __name__,
    arguments,
    measure,
    tables,
    picture=_roofline.draw,
    ratios=ratios,
    ended=lambda result, _: 3 if result["missing"] else 0,
    parts=PLACES,
)
