"""How a typed program uses harmguard: nothing runs it, `./scripts/check` type-checks it."""

from __future__ import annotations

from pathlib import Path
from typing import assert_type

import numpy as np
import numpy.typing as npt

from harmguard import HarmGuard, Verdict


def scores(guard: HarmGuard) -> None:
    assert_type(guard.score("prompt"), float)
    assert_type(guard.score("prompt", "response"), float)
    assert_type(guard.score("prompt", None), float)
    pairs: list[tuple[str, str | None]] = [("prompt", None), ("prompt", "response")]
    assert_type(guard.score_many(pairs), npt.NDArray[np.float32])
    assert_type(guard.check_many(pairs), list[Verdict])


def verdict(guard: HarmGuard) -> None:
    found = guard.check("prompt", response="response")
    assert_type(found, Verdict)
    assert_type(found.score, float)
    assert_type(found.threshold, float)
    assert_type(found.harmful, bool)
    assert_type(found.tokens, int)
    assert_type(found.windows, int)


def construction(folder: Path) -> None:
    with HarmGuard() as guard:
        assert_type(guard, HarmGuard)
    HarmGuard(folder).close()
    HarmGuard("guards/large-int4", threads=2, threshold="fpr_1", long_text="error").close()
    HarmGuard(threshold=0.5).close()
    prepared = HarmGuard(folder, cache=folder / "cache")
    assert_type(prepared.prepared, Path | None)
    assert_type(prepared.why_unprepared, str | None)
