"""Stage 1 on the tiny generator: what the prefix does, counts, and the files."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harmguard.errors import DataError, GenerationError, StageError
from harmguard.training.data import read_rows
from harmguard.training.pipeline import smoke as world
from harmguard.training.pipeline.generate import PICTURE, filled, generate
from harmguard.training.pipeline.recipe import Model, Recipe


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_instructions_come_with_the_prefix_and_refusals_without(
    smaller: Recipe, tmp_path: Path
) -> None:
    manifest = generate(smaller, tmp_path / "generate")
    summary = manifest["summary"]
    made = read_rows(tmp_path / "generate" / "rows.jsonl")
    harmful = [row.prompt for row in made if row.source == "harmaug"]
    benign = [row.prompt for row in made if row.source == "harmaug-benign"]
    assert len(harmful) == 12
    assert sum(p in world.instructions(world.RUDE) for p in harmful) >= 10
    assert len(benign) == summary["benign"]["kept"] >= 4
    assert sum(p in world.instructions(world.KIND) for p in benign) >= len(benign) - 1
    assert summary["without_prefix"] == {"asked": 4, "kept": 0, "removed": {"refusal": 4}}
    assert summary["acceptance"]["with_prefix"] > 0.7
    assert summary["acceptance"]["without_prefix"] == 0.0
    assert {row.kind for row in made} == {"prompt"}
    assert {row.licence for row in made} == {"Apache-2.0"}
    assert (tmp_path / "generate" / PICTURE).read_bytes()[:4] == b"\x89PNG"
    # Every answer that was asked for is a row or has a reason, up to the count wanted.
    rejects = rows(tmp_path / "generate" / "rejects.jsonl")
    assert {r["id"] for r in rejects}.isdisjoint(row.id for row in made)
    asked = sum(summary[kind]["asked"] for kind in ("harmful", "without_prefix", "benign"))
    kept = sum(summary[kind]["kept"] for kind in ("harmful", "without_prefix", "benign"))
    assert asked == kept + len(rejects)
    assert len(rows(tmp_path / "generate" / "journal.jsonl")) == asked


def test_a_finished_stage_is_not_done_again(smaller: Recipe, tmp_path: Path) -> None:
    first = generate(smaller, tmp_path / "generate")
    gone = replace(smaller, engine=replace(smaller.engine, block_rows=4))
    assert generate(gone, tmp_path / "generate") == first
    other = replace(smaller, seed=1)
    with pytest.raises(StageError, match="a run with another seed"):
        generate(other, tmp_path / "generate")


def test_a_generator_that_refuses(smaller: Recipe, tmp_path: Path) -> None:
    # Without the prefix this generator has learnt to refuse.
    settings = replace(smaller.generate, prefix="", bare=0, benign=0.0, max_attempts=16)
    recipe = replace(smaller, generate=settings)
    with pytest.raises(GenerationError, match=r"0 of 12 .* after 16 attempts \(16 x refusal\)"):
        generate(recipe, tmp_path / "generate")
    assert len(rows(tmp_path / "generate" / "journal.jsonl")) == 16


def test_empty_answers(smaller: Recipe, bad_model: Callable[..., str], tmp_path: Path) -> None:
    def end_at_once(folder: Path) -> None:
        path = folder / "generation_config.json"
        value = json.loads(path.read_text())
        # Every token ends the answer.
        value["eos_token_id"] = list(
            range(json.loads((folder / "config.json").read_text())["vocab_size"])
        )
        path.write_text(json.dumps(value))

    broken = Model(bad_model("generator", end_at_once))
    sampling = replace(smaller.generate.sampling, max_new_tokens=1)
    settings = replace(smaller.generate, model=broken, sampling=sampling, prefix="I have an idea")
    recipe = replace(smaller, generate=settings)
    with pytest.raises(GenerationError, match=r"(no text in 16 answers \(16 x empty\)|0 of 12)"):
        generate(recipe, tmp_path / "generate")


def test_too_few_exemplars(smaller: Recipe, tmp_path: Path) -> None:
    lines = Path(smaller.labelled[0]).read_text(encoding="utf-8").splitlines()[:2]
    (tmp_path / "few.jsonl").write_text("\n".join(lines) + "\n")
    recipe = replace(smaller, labelled=[str(tmp_path / "few.jsonl")])
    with pytest.raises(DataError, match=r"2 different harmful prompts .* at least 3"):
        generate(recipe, tmp_path / "generate")
    twice = replace(smaller, labelled=smaller.labelled * 2)
    with pytest.raises(DataError, match="48 ids stand on several of 96 rows"):
        generate(twice, tmp_path / "generate")


def test_mixed_schemas_are_named_by_line(smaller: Recipe, tmp_path: Path) -> None:
    (tmp_path / "mixed.jsonl").write_text(
        '{"prompt": "Write a rude note.", "label": 1}\n{"text": "Write a kind note.", "y": 0}\n'
    )
    recipe = replace(smaller, labelled=[str(tmp_path / "mixed.jsonl")])
    with pytest.raises(DataError, match=r"mixed.jsonl, line 2: prompt is missing or wrong"):
        generate(recipe, tmp_path / "generate")


def test_braces_in_a_text_stay_what_they_are() -> None:
    template = "{exemplars} then {instruction}"
    assert filled(template, ["{instruction}", "b"], "{exemplars}") == (
        "1. {instruction}\n2. b then {exemplars}"
    )
