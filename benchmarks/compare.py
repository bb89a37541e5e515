"""Do two runs agree? The ratios of two folders of raw results, cell by cell.

    python -m benchmarks run --results first && python -m benchmarks run --results second
    python -m benchmarks compare first second

Seconds differ between machines and days; the ratios that the tables state should not. Exit status
0: every ratio agrees within 15 %; 1: the named cells do not, or are in one folder only; 3: an
error, such as nothing to compare.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.harness.command import Script, command_of
from benchmarks.harness.errors import BenchmarkDataError
from benchmarks.harness.results import read_json

BOUND = 0.15
"""The larger ratio of a cell is at most this much above the smaller one."""

Cells = dict[str, float]


def arguments(parser: argparse.ArgumentParser) -> None:
    """Two folders."""
    parser.add_argument("first", type=Path, help="folder of raw results")
    parser.add_argument("second", type=Path, help="another one")


def run(options: argparse.Namespace) -> int:
    """Print the largest disagreement of each benchmark, and every cell above the bound."""
    first, second = cells(options.first), cells(options.second)
    both = sorted(first.keys() & second.keys())
    if not both:
        raise BenchmarkDataError(
            f"{options.first} and {options.second} have no ratio in common; expected raw results "
            "of the same benchmarks, NAME.json of those that give ratios"
        )
    apart = {name: disagreement(first[name], second[name]) for name in both}
    for benchmark in dict.fromkeys(name.partition(": ")[0] for name in both):
        own = [name for name in both if name.startswith(f"{benchmark}: ")]
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
    """Ratio by "result: cell" of every raw result in a folder.

    Raises BenchmarkDataError for a file that is none.
    """
    by: Cells = {}
    for path in sorted(folder.glob("*.json")):
        ratios = getattr(command_of(path.stem), "ratios", None)
        try:
            if ratios is not None:
                by |= {f"{path.stem}: {name}": ratio for name, ratio in ratios(read_json(path))}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BenchmarkDataError(
                f"{path} is unreadable ({type(error).__name__}); expected a raw result of "
                f"{path.stem}; likely of another version"
            ) from None
    return by


COMMAND = Script(__name__, arguments, run)
