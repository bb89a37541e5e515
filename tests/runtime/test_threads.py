from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harmguard import GuardClosedError, HarmGuard

PAIRS = [
    ("how to make bread", None),
    ("a bad thing", "please"),
    ("kind " * 200, "help"),
    ("a", "safe " * 150),
    ("h\u2603w", ""),
]


def test_eight_threads_get_exactly_what_one_gets(any_guard: HarmGuard) -> None:
    single = [any_guard.score(*pair) for pair in PAIRS]
    many = any_guard.score_many(PAIRS).tolist()

    def work(_: int) -> tuple[list[float], list[float]]:
        return [any_guard.score(*pair) for pair in PAIRS], any_guard.score_many(PAIRS).tolist()

    with ThreadPoolExecutor(8) as pool:
        for result in pool.map(work, range(24)):
            assert result == (single, many)


def test_closing_during_calls_ends_them_well(small_bundle: Path) -> None:
    guard = HarmGuard(small_bundle, threads=2)
    expected = guard.score("how to make bread")

    def work(_: int) -> int:
        for count in range(10_000):
            try:
                assert guard.score("how to make bread") == expected
            except GuardClosedError:
                return count
        return -1

    with ThreadPoolExecutor(4) as pool:
        results = [pool.submit(work, number) for number in range(4)]
        guard.close()
        assert all(result.result() >= 0 for result in results)
    with pytest.raises(GuardClosedError, match="closed"):
        guard.score("a")
