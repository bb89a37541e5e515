"""Stage 2: shares, and what each mode's rows hold."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmguard.errors import GenerationError
from harmguard.rows import Row, read_rows
from harmguard.training.harmaug import smoke as world
from harmguard.training.harmaug.filters import is_refusal
from harmguard.training.harmaug.plan import MODES, Plan
from harmguard.training.harmaug.respond import ENOUGH, assign, respond


@pytest.fixture
def instructions(tmp_path: Path) -> Path:
    texts = [*world.instructions(world.RUDE)[::77], *world.instructions(world.KIND)[::151]]
    lines = [
        json.dumps({"id": f"i{n}", "prompt": text, "source": "mine", "task": "prompt"})
        for n, text in enumerate(texts)
    ]
    (tmp_path / "instructions.jsonl").write_text("\n".join(lines) + "\n")
    return tmp_path / "instructions.jsonl"


def test_every_mode_says_what_it_should(smoke: Plan, instructions: Path, tmp_path: Path) -> None:
    manifest = respond(smoke, instructions, tmp_path / "respond")
    rows = read_rows(tmp_path / "respond" / "rows.jsonl")
    prompts = [row.prompt for row in read_rows(instructions)]
    assert Counter(row.prompt for row in rows) == Counter(prompts)
    by = {mode: [row for row in rows if row.id.endswith(mode)] for mode in MODES}
    count = len(prompts)
    assert [len(by[mode]) for mode in MODES] == [
        round(0.4 * count),
        round(0.7 * count) - round(0.4 * count),
        count - round(0.7 * count),
    ]
    assert all(row.response is None for row in by["none"])
    assert {row.response for row in by["refuse"]} == {"I cannot help with that."}
    for row in by["comply"]:
        assert row.response is not None
        assert row.response.startswith("Sure, here it is: ")
        assert not is_refusal(row.response)
    rude = [r for r in by["comply"] if r.prompt in world.instructions(world.RUDE)]
    assert sum("fool" in (row.response or "") for row in rude) >= len(rude) - 1
    assert manifest["summary"]["refuse"]["refusals"] == len(by["refuse"])
    assert manifest["summary"]["comply"]["refusals"] == 0
    assert {row.source for row in rows} == {"mine"}


def test_all_responses_empty(smoke: Plan, instructions: Path, tmp_path: Path) -> None:
    sampling = replace(smoke.respond.sampling, max_new_tokens=1, temperature=0.0)
    # The first token after a finished refusal is the end of the turn.
    refuse = replace(smoke.respond.refuse, prefix="I cannot help with that.")
    shares = {"comply": 0.0, "refuse": 1.0, "none": 0.0}
    settings = replace(smoke.respond, shares=shares, refuse=refuse, sampling=sampling)
    with pytest.raises(
        GenerationError, match=r"no text in \d+ responses of refuse \(\d+ x empty\)"
    ):
        respond(replace(smoke, respond=settings), instructions, tmp_path / "respond")


def test_a_few_empty_responses_are_counted(smoke: Plan, instructions: Path, tmp_path: Path) -> None:
    few = tmp_path / "few.jsonl"
    few.write_text("".join(instructions.read_text().splitlines(keepends=True)[: ENOUGH - 1]))
    sampling = replace(smoke.respond.sampling, max_new_tokens=1, temperature=0.0)
    refuse = replace(smoke.respond.refuse, prefix="I cannot help with that.")
    shares = {"comply": 0.0, "refuse": 1.0, "none": 0.0}
    settings = replace(smoke.respond, shares=shares, refuse=refuse, sampling=sampling)
    summary = respond(replace(smoke, respond=settings), few, tmp_path / "respond")["summary"]
    assert summary["refuse"]["rows"] == summary["refuse"]["empty"] == ENOUGH - 1
    assert summary["comply"]["empty"] == summary["none"]["empty"] == 0


@given(
    count=st.integers(1, 60),
    parts=st.tuples(*[st.floats(0.0, 1.0) for _ in MODES]),
    seed=st.integers(0, 99),
)
def test_shares(count: int, parts: tuple[float, ...], seed: int) -> None:
    rows = [Row(str(i), "Hello.", None, None) for i in range(count)]
    shares = dict(zip(MODES, parts, strict=True))
    found = assign(rows, shares, seed)
    for mode, share in shares.items():
        ids = [row.id for row in found[mode]]
        assert len(set(ids)) == len(ids)
        assert abs(len(ids) - share * count) <= 1
    if sum(parts) <= 1.0:
        every = [row.id for members in found.values() for row in members]
        assert len(set(every)) == len(every)


def test_shares_of_one_each_make_pairs() -> None:
    rows = [Row(str(i), "Hello.", None, None) for i in range(7)]
    found = assign(rows, {"comply": 1.0, "refuse": 1.0, "none": 0.0}, 0)
    assert found["comply"] == found["refuse"] == rows
    assert found["none"] == []
