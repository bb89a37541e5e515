"""What the tests of prepared copies share."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from harmguard import HarmGuard
from harmguard.errors import UnpreparedWarning
from harmguard.prepared.place import OWN

TEXT = "how to make bread"

SCORE = """
import sys
from harmguard import HarmGuard
with HarmGuard(sys.argv[1], threads=1, cache=sys.argv[2]) as guard:
    assert guard.why_unprepared is None, guard.why_unprepared
    print(guard.prepared, guard.score("how to make bread"))
"""


def expected(folder: Path) -> float:
    with HarmGuard(folder, threads=1) as guard:
        return guard.score(TEXT, "please")


def found(folder: Path, cache: Path) -> float:
    """The score of a guard that runs from the copy in `cache`."""
    with HarmGuard(folder, threads=1, cache=cache) as guard:
        assert guard.why_unprepared is None
        assert guard.prepared is not None
        assert guard.prepared.parent == cache / OWN
        return guard.score(TEXT, "please")


def without_copy(folder: Path, cache: Path, match: str) -> str:
    """Check that a guard warns, runs all the same, and says why; return the reason."""
    with pytest.warns(UnpreparedWarning, match=match):
        guard = HarmGuard(folder, threads=1, cache=cache)
    with guard:
        assert guard.prepared is None
        assert guard.why_unprepared is not None
        assert guard.score(TEXT, "please") == expected(folder)
        return guard.why_unprepared


def copies(cache: Path) -> list[str]:
    """What is in a cache, its lock not counted."""
    return sorted(path.name for path in (cache / OWN).iterdir() if path.name != ".lock")


def run(code: str, *arguments: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *map(str, arguments)],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def edit(path: Path, **changes: object) -> None:
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, **changes}))
