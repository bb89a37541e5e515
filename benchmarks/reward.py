"""Throughput of a guard as the reward function of a red-team training loop.

    python -m benchmarks.reward
    python -m benchmarks.reward guards/large --calls 8 --group 64 --judged completion

Calls are made as a trainer makes them: `group` prompts and completions at a time, here the texts
of the bundle's golden pairs.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks._results import guarded
from harmguard import HarmGuard
from harmguard.bundle import EMBEDDED
from harmguard.training.reward import GuardReward


def main(arguments: Sequence[str] | None = None) -> int:
    """Score the groups after one that warms up; print the pairs per second as JSON."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.reward", description=__doc__)
    made.add_argument("bundle", nargs="?", type=Path, default=EMBEDDED)
    made.add_argument("--calls", type=int, default=8, help="groups that are timed")
    made.add_argument("--group", type=int, default=64, help="completions per call")
    made.add_argument("--judged", choices=("exchange", "completion"), default="exchange")
    made.add_argument("--threads", type=int, default=1)
    options = made.parse_args(arguments)
    lines = (options.bundle / "golden.jsonl").read_text(encoding="utf-8").splitlines()
    golden = [json.loads(line) for line in lines]
    texts = [str(row["prompt"]) for row in golden]
    answers = [str(row.get("response") or row["prompt"]) for row in golden]
    pairs = itertools.cycle(zip(texts, answers, strict=True))
    with HarmGuard(options.bundle, threads=options.threads) as guard:
        warm, reward = GuardReward(guard, options.judged), GuardReward(guard, options.judged)
        for call in [warm, *[reward] * options.calls]:
            prompts, completions = zip(*itertools.islice(pairs, options.group), strict=True)
            call(prompts, completions)
    rate = round(reward.pairs_per_second, 1)
    print(json.dumps({"pairs": reward.pairs, "pairs_per_second": rate}))
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
