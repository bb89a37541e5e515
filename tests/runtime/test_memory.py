from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="no procfs to read the memory from"
)

SCRIPT = """
import sys
from harmguard import HarmGuard

def anonymous():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024

with HarmGuard(sys.argv[1], threads=2) as guard:
    guard.score("how to make bread", "mix and bake it")
    first = anonymous()
    guard.score_many([("how to make bread " * 60, "mix and bake it " * 60)] * 16)
    after_long = anonymous()
    guard.score_many([("how to make bread " * 5, "mix and bake it " * 5)] * 64)
    print(first, after_long, anonymous())
"""


def test_memory_falls_back_after_large_batches(any_bundle: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT, str(any_bundle)],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    first, after_long, after_many = map(float, done.stdout.split())
    assert first <= 80
    assert after_long <= first + 20
    assert after_many <= first + 20
