"""Throughput of a guard as the reward function of a red-team training loop.

    python -m benchmarks reward
    python -m benchmarks reward guards/large --calls 8 --group 64 --judged completion

Calls are made as a trainer makes them: `group` prompts and completions at a time, here the texts
of the bundle's golden pairs. Prints one JSON object: pairs per second of the calls (median,
slowest, fastest), the tokens of the pairs, and what they were measured on.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
from pathlib import Path

from benchmarks.harness.command import Script
from harmguard import HarmGuard
from harmguard.bench.machine import artefact, describe, load_average
from harmguard.bundle import EMBEDDED, open_bundle
from harmguard.training.harmaug.reward import GuardReward


def arguments(parser: argparse.ArgumentParser) -> None:
    """BUNDLE, and how it is called."""
    parser.add_argument("bundle", nargs="?", type=Path, default=EMBEDDED)
    parser.add_argument("--calls", type=int, default=8, help="groups that are timed")
    parser.add_argument("--group", type=int, default=64, help="completions per call")
    parser.add_argument("--judged", choices=("exchange", "completion"), default="exchange")
    parser.add_argument("--threads", type=int, default=1)


def run(options: argparse.Namespace) -> int:
    """Score the groups after one that warms up; print their pairs per second as JSON."""
    lines = (options.bundle / "golden.jsonl").read_text(encoding="utf-8").splitlines()
    golden = [json.loads(line) for line in lines]
    texts = [str(row["prompt"]) for row in golden]
    answers = [str(row.get("response") or row["prompt"]) for row in golden]
    pairs = itertools.cycle(zip(texts, answers, strict=True))
    calls = [list(itertools.islice(pairs, options.group)) for _ in range(options.calls + 1)]
    rates, load = [], load_average()
    with HarmGuard(options.bundle, threads=options.threads) as guard:
        for call in calls:
            reward = GuardReward(guard, options.judged)
            reward(*zip(*call, strict=True))
            rates.append(reward.pairs_per_second)
        exchange = options.judged == "exchange"
        judged = [pair if exchange else (pair[1], None) for pair in calls[0]]
        tokens = [verdict.tokens for verdict in guard.check_many(judged)]
    pace = {"median": statistics.median(rates[1:]), "min": min(rates[1:]), "max": max(rates[1:])}
    result = {
        "pairs": options.calls * options.group,
        "pairs_per_second": {name: round(rate, 1) for name, rate in pace.items()},
        "calls": options.calls,
        "judged": options.judged,
        "threads": options.threads,
        "tokens_of_a_pair": {"mean": round(statistics.fmean(tokens), 1), "max": max(tokens)},
        "load_average_before": load,
        "bundle": artefact(open_bundle(options.bundle)),
        "machine": describe(),
    }
    print(json.dumps(result))
    return 0


COMMAND = Script(__name__, arguments, run)
