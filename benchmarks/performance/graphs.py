"""Several ONNX graphs of one model against each other: fastest call of each, and the ratios.

    python -m benchmarks graphs old=OLD/model.onnx new=NEW/model.onnx optimum=model_quantized.onnx
    python -m benchmarks graphs a=A/model.onnx b=B/model.onnx --tokens 128,512 --calls 20

All are in one process and take turns call by call, so that what else the machine does falls on
each alike; ratios are those of the fastest calls, to the first graph named.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.command import Script
from benchmarks.harness.errors import BenchmarkDataError
from benchmarks.runtimes.onnx_models import options, session
from harmguard.core.cores import default_threads

_SEED = 3
# Ids of ordinary words in the vocabularies of BERT, RoBERTa and DeBERTa alike.
_IDS = (1000, 2000)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Graphs, lengths, calls."""
    parser.add_argument("graphs", nargs="+", metavar="NAME=FILE", help="ONNX files, each by a name")
    parser.add_argument("--tokens", default="128,512", help="lengths (default 128,512)")
    parser.add_argument("--calls", type=int, default=200, help="of each graph (default 200)")
    parser.add_argument("--threads", type=int, default=default_threads())
    parser.add_argument("--ids", default="{},{}".format(*_IDS), help="range of random token ids")


def run(chosen: argparse.Namespace) -> int:
    """Print a line for each length."""
    sessions = load(chosen.graphs, chosen.threads)
    low, high = map(int, chosen.ids.split(","))
    for tokens in map(int, chosen.tokens.split(",")):
        ids = np.random.default_rng(_SEED).integers(low, high, (1, tokens))
        fastest = measure(sessions, ids, chosen.calls)
        base = next(iter(fastest.values()))
        cells = [f"{n} {s * 1e3:.2f} ms (x{s / base:.3f})" for n, s in fastest.items()]
        print(f"{tokens} tokens, {chosen.threads} threads: {', '.join(cells)}")
    return 0


def load(graphs: Sequence[str], threads: int) -> dict[str, Any]:
    """A session for each NAME=FILE; BenchmarkDataError for what is no such file."""
    sessions = {}
    for graph in graphs:
        name, _, path = graph.partition("=")
        if not Path(path).is_file():
            raise BenchmarkDataError(f"{graph!a}; expected NAME=FILE, an ONNX file")
        # As the guard's own sessions: a plan per shape keeps memory, and changes the speed.
        chosen = options(threads)
        chosen.enable_mem_pattern = False
        sessions[name] = session(Path(path), chosen)
    return sessions


def measure(sessions: Mapping[str, Any], ids: Any, calls: int) -> dict[str, float]:
    """Seconds of the fastest of `calls` calls of each session, in turns."""
    given = {
        "input_ids": ids,
        "attention_mask": np.ones_like(ids),
        "token_type_ids": np.zeros_like(ids),
    }
    feeds = {n: {i.name: given[i.name] for i in s.get_inputs()} for n, s in sessions.items()}
    fastest = dict.fromkeys(sessions, float("inf"))
    for _ in range(calls):
        for name, ready in sessions.items():
            before = time.perf_counter()
            ready.run(None, feeds[name])
            fastest[name] = min(fastest[name], time.perf_counter() - before)
    return fastest


COMMAND = Script(__name__, arguments, run)
