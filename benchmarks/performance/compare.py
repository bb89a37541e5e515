"""Do two runs agree? The ratios of two folders of raw results, cell by cell.

    python -m benchmarks --results first && python -m benchmarks --results second
    python -m benchmarks compare first second

Seconds differ between machines and days; the ratios that the tables state should not. Exit status
0: every ratio agrees within 15 %; 1: the named cells do not, or are in one folder only; 3: an
error, such as nothing to compare.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import results as _results
from benchmarks.harness.errors import BenchmarkDataError
from benchmarks.performance._peers_table import TITLES
from benchmarks.performance._scaling_table import call_ms, floor_ms

BOUND = 0.15
"""The larger ratio of a cell is at most this much above the smaller one."""

Cells = dict[str, float]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the largest disagreement of each benchmark, and every cell above the bound."""
    made = argparse.ArgumentParser(prog="python -m benchmarks compare", description=__doc__)
    made.formatter_class = argparse.RawDescriptionHelpFormatter
    made.add_argument("first", type=Path, help="folder of raw results")
    made.add_argument("second", type=Path, help="another one")
    options = made.parse_args(arguments)
    first, second = cells(options.first), cells(options.second)
    both = sorted(first.keys() & second.keys())
    if not both:
        raise BenchmarkDataError(
            f"{options.first} and {options.second} have no ratio in common; expected raw results "
            f"of the same benchmarks, NAME.json of {', '.join(READERS)}"
        )
    apart = {name: disagreement(first[name], second[name]) for name in both}
    for benchmark in READERS:
        own = [name for name in both if name.startswith(f"{benchmark}: ")]
        if own:
            worst = max(own, key=lambda name: apart[name])
            print(f"{len(own)} ratios of {benchmark}, at most {apart[worst]:.1%} apart: {worst}")
    far = [name for name in both if apart[name] > BOUND]
    for name in far:
        print(f"{apart[name]:.1%} apart: {name}, {first[name]:.3f} and {second[name]:.3f}")
    alone = sorted(first.keys() ^ second.keys())
    for name in alone:
        print(f"in {options.first if name in first else options.second} only: {name}")
    print(f"{len(both)} ratios, {len(far)} more than {BOUND:.0%} apart, {len(alone)} in one only")
    return 1 if far or alone else 0


def disagreement(a: float, b: float) -> float:
    """How far the larger of two positive ratios is above the smaller one, as a share of it."""
    return max(a, b) / min(a, b) - 1


def cells(folder: Path) -> Cells:
    """Ratio by "benchmark: cell" of every raw result in a folder.

    Raises BenchmarkDataError for a file that is none.
    """
    found: Cells = {}
    for benchmark, reader in READERS.items():
        path = folder / f"{benchmark}.json"
        if not path.exists():
            continue
        try:
            result = json.loads(path.read_text(encoding="utf-8"))
            found |= {f"{benchmark}: {name}": value for name, value in reader(result)}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BenchmarkDataError(
                f"{path} is unreadable ({type(error).__name__}); expected a raw result of "
                f"{benchmark}; likely of another version"
            ) from None
    return found


def _speed(result: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for length in result["lengths"]:
        for mode in ("text", "ids"):
            for name, ratio in length[mode]["times_harmguard"].items():
                yield f"{name} / harmguard, {mode}, {length['tokens']} tokens", ratio["fastest"]


def _bulk(result: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name, ratio in result["times_score_many"].items():
        yield f"{name} / score_many", ratio["fastest"]


def _peers(result: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name, row in result["rows"].items():
        if name != result["anchor"]:
            for tokens, ratio in row["times_anchor"].items():
                yield f"{TITLES[name]}, {tokens} tokens", ratio["fastest"]


def _scaling(result: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for guard in result["guards"]:
        about = guard["bundle"]
        for tokens in guard["profile"]:
            floor = floor_ms(guard, tokens)
            if floor:
                times = call_ms(guard, tokens) / floor
                yield f"{about['name']} {about['recipe']} / floor, {tokens} tokens", times


READERS = {
    "speed": _speed,
    "bulk": _bulk,
    "peers-mini": _peers,
    "peers-435m": _peers,
    "scaling": _scaling,
}


if __name__ == "__main__":
    raise SystemExit(_results.guarded(main))
