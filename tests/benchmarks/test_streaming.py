from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.harness.errors import BenchmarkDataError
from benchmarks.quality import cascade, explaining, streaming
from benchmarks.quality._splices import splices
from harmguard import HarmGuard
from harmguard.rows import Row
from tests.benchmarks.conftest import row_of

BENIGN = (
    "Mix the flour with water and salt. Knead it for ten minutes. Let it rise. Then bake it well."
)


def rows() -> list[Row]:
    return [row_of("How?", BENIGN + f" Number {n}.", 0, "a") for n in range(5)] + [
        row_of("Why?", f"I will hurt you {n}.", 1, "b") for n in range(3)
    ]


def test_splices_are_the_benign_answer_with_the_harmful_one_in_it() -> None:
    made = splices(rows(), 12, 1)
    assert len(made) == 12
    for one in made:
        inner = one.text[one.start : one.end]
        assert inner == rows()[one.harmful].response
        rest = (one.text[: one.start] + one.text[one.end :]).split()
        assert rest == (rows()[one.benign].response or "").split()
        ends = one.judged()
        assert ends == sorted(set(ends))
        assert ends[-1] >= one.end
    assert made == splices(rows(), 12, 1)
    with pytest.raises(BenchmarkDataError, match="0 harmful answers that can be spliced"):
        splices(rows()[:5], 3, 1)


def test_planted_sentences_stand_where_they_are_said_to() -> None:
    for one in explaining.planted_rows(rows(), 9):
        assert one.text[one.start : one.end].startswith("I will hurt you")
        assert (one.text[: one.start] + one.text[one.end :]).split() == one.plain.split()


def write(folder: Path) -> None:
    import gzip

    lines = [
        {"id": str(n), "prompt": row.prompt, "response": row.response, "label": row.label,
         "source": row.source, "task": "response"}
        for n, row in enumerate(rows() * 12)
    ]  # fmt: skip
    lines += [{**line, "response": "", "task": "prompt"} for line in lines]
    with gzip.open(folder / "val.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


@pytest.mark.slow
@pytest.mark.parametrize("module", [streaming, explaining, cascade])
def test_it_runs(module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from harmguard.bundle import EMBEDDED

    write(tmp_path)
    monkeypatch.setenv("HARMGUARD_DATA", str(tmp_path))
    out = tmp_path / "out.json"
    large = [str(EMBEDDED)] if module is cascade else []
    assert module.COMMAND.main([str(EMBEDDED), *large, "--quick", "--out", str(out)]) == 0
    assert json.loads(out.read_text())["quick"] is True


def test_counting_counts_and_is_put_back(small_guard: HarmGuard) -> None:
    session = small_guard._session
    run, count = streaming.counted(small_guard)
    small_guard.score("How do I bake bread?")
    assert count() > 0
    small_guard._session = run
    assert small_guard._session is session


@pytest.fixture(scope="module")
def small_guard() -> Any:
    with HarmGuard(threads=1) as guard:
        yield guard
