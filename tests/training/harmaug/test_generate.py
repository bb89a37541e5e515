"""Stage 1 on the tiny generator: what the prefix does, counts, and the files."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from harmguard.errors import DataError, GenerationError, StageError
from harmguard.rows import read_rows
from harmguard.training.harmaug import smoke as world
from harmguard.training.harmaug.generate import PICTURE, filled, generate
from harmguard.training.harmaug.plan import Engine, Plan
from harmguard.training.models import Model
from harmguard.training.stage import Item, Stage


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_instructions_come_with_the_prefix_and_refusals_without(
    smaller: Plan, tmp_path: Path
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
    assert len(harmful) == summary["harmful"]["kept"]
    removed: Counter[str] = Counter()
    for kind in ("harmful", "without_prefix", "benign"):
        removed.update(summary[kind]["removed"])
    assert removed == Counter(r["reason"] for r in rejects)
    assert set(manifest["made_with"]) == {"engine", "harmguard", "torch", "transformers"}
    gpu = torch.cuda.is_available()
    assert (manifest["block_rows"], manifest["dtype"]) == (8, "bfloat16" if gpu else "float32")
    assert len(rows(tmp_path / "generate" / "journal.jsonl")) == asked


def test_a_finished_stage_is_not_done_again(smaller: Plan, tmp_path: Path) -> None:
    first = generate(smaller, tmp_path / "generate")
    engine = replace(smaller.engine, workers=4)
    settings = replace(smaller.generate, max_attempts=99)
    again = replace(smaller, engine=engine, generate=settings)
    assert generate(again, tmp_path / "generate") == first
    narrow = replace(smaller, engine=replace(engine, block_rows=4))
    assert generate(narrow, tmp_path / "generate") == first
    (tmp_path / "generate" / "manifest.json").unlink()
    with pytest.raises(StageError, match="a run with another block_rows"):
        generate(narrow, tmp_path / "generate")
    assert generate(again, tmp_path / "generate")["outputs"] == first["outputs"]
    for other, key in (
        (replace(smaller, seed=1), "seed"),
        (replace(smaller, generate=replace(settings, exemplars=2)), "generate"),
    ):
        with pytest.raises(StageError, match=f"a run with another {key}"):
            generate(other, tmp_path / "generate")


class Script:
    """Answers by id instead of a model's; `blocks` has the ids of each block that was asked for."""

    def __init__(self, answer: Callable[[str], str]) -> None:
        self.answer, self.blocks = answer, list[list[str]]()

    def __call__(self, engine: Engine, work: Any) -> tuple[Any, int]:
        return self._run, engine.block_rows

    def _run(self, blocks: list[list[Item]]) -> Iterator[list[Item]]:
        for block in blocks:
            self.blocks.append([item["id"] for item in block])
            yield [{"id": item["id"], "text": self.answer(item["id"])} for item in block]

    def asked(self, kind: str) -> int:
        return sum(name.startswith(kind) for block in self.blocks for name in block)


def told(name: str) -> str:
    """An instruction like no other."""
    words = hashlib.sha256(name.encode()).hexdigest().translate(str.maketrans("01234567", "q" * 8))
    return f"Write the {words[:6]} {words[6:12]} {words[12:18]} {words[18:24]}"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[str], str]], Script]:
    def put(answer: Callable[[str], str]) -> Script:
        found = Script(answer)
        monkeypatch.setattr("harmguard.training.harmaug.generate.executor", found)
        return found

    return put


def with_generate(plan: Plan, **settings: Any) -> Plan:
    return replace(plan, generate=replace(plan.generate, **settings))


def test_accepted_answers_beyond_the_count_are_surplus(
    smaller: Plan, tmp_path: Path, script: Callable[..., Script]
) -> None:
    script(told)
    summary = generate(smaller, tmp_path)["summary"]
    assert summary["harmful"] == {"asked": 16, "kept": 12, "removed": {"surplus": 4}}
    assert summary["acceptance"]["with_prefix"] == 1.0
    surplus = [r["id"] for r in rows(tmp_path / "rejects.jsonl") if r["reason"] == "surplus"]
    assert surplus == [f"harmful-{i:07}" for i in range(12, 16)]


def test_empty_answers_after_good_ones_are_counted(
    smaller: Plan, tmp_path: Path, script: Callable[..., Script]
) -> None:
    # Of the first 32 a half are kept; the second round is empty, the third is not.
    def answer(name: str) -> str:
        kind, number = name.split("-")[0], name.split("-")[-1]
        given = kind == "harmful" and (int(number) % 2 if int(number) < 32 else int(number) >= 64)
        return told(name) if given else " \n"

    script(answer)
    plan = with_generate(smaller, count=32, max_attempts=400, benign=0.2)
    summary = generate(plan, tmp_path)["summary"]
    assert summary["harmful"]["kept"] == 32
    assert summary["harmful"]["removed"]["empty"] == 48
    assert summary["without_prefix"] == {"asked": 4, "kept": 0, "removed": {"empty": 4}}
    assert summary["benign"] == {"asked": 6, "kept": 0, "removed": {"empty": 6}}


def test_a_generator_of_empty_answers_is_named_early(
    smaller: Plan, tmp_path: Path, script: Callable[..., Script]
) -> None:
    asked = script(lambda name: "")
    plan = with_generate(smaller, count=10_000, max_attempts=20_000)
    with pytest.raises(GenerationError, match=r"no text in 32 answers \(32 x empty\)"):
        generate(plan, tmp_path)
    assert asked.asked("harmful") == 32


def test_a_refusing_generator_is_asked_for_more_and_more(
    smaller: Plan, tmp_path: Path, script: Callable[..., Script]
) -> None:
    script(lambda name: "I cannot do that.")
    plan = with_generate(smaller, count=10_000, max_attempts=10_000)
    sizes: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        run = Stage.run

        def counted(self: Stage, items: Sequence[Item], *how: Any) -> list[Item]:
            sizes.append(len(items))
            return run(self, items, *how)

        patch.setattr(Stage, "run", counted)
        with pytest.raises(GenerationError, match=r"0 of 10000 .* \(10000 x refusal\)"):
            generate(plan, tmp_path)
    assert sizes == [32, 32, 64, 128, 256, 512, 1024, 2048, 4096, 1808]


def test_more_attempts_go_on_from_the_answers_there_are(
    smaller: Plan, tmp_path: Path, script: Callable[..., Script]
) -> None:
    def answer(name: str) -> str:
        return told(name) if name >= "harmful-0000016" else "I cannot do that."

    plan = with_generate(smaller, bare=0, benign=0.0, max_attempts=20)  # two blocks of 8
    script(answer)
    with pytest.raises(GenerationError, match=r"0 of 12 .* after 16 attempts \(16 x refusal\)"):
        generate(plan, tmp_path)
    asked = script(answer)
    manifest = generate(with_generate(plan, max_attempts=64), tmp_path)
    assert manifest["summary"]["harmful"]["kept"] == 12
    assert manifest["generate"]["max_attempts"] == 64
    assert min(name for block in asked.blocks for name in block) == "harmful-0000016"
    assert {len(block) for block in asked.blocks} == {8}


def test_a_server_may_move(smaller: Plan, tmp_path: Path, script: Callable[..., Script]) -> None:
    def at(url: str) -> Plan:
        plan = with_generate(smaller, model=replace(smaller.generate.model, url=url))
        return replace(plan, engine=Engine("openai", block_rows=8))

    def stopped(name: str) -> str:
        if name > "harmful-0000007":
            raise KeyboardInterrupt
        return told(name)

    script(stopped)
    with pytest.raises(KeyboardInterrupt):
        generate(at("http://a:8000/v1"), tmp_path)
    asked = script(told)
    manifest = generate(at("http://b:8001/v1"), tmp_path)
    assert asked.asked("harmful") == 8
    assert manifest["generate"]["model"]["url"] == "http://b:8001/v1"
    assert manifest["made_with"]["engine"]["kind"] == "openai"
    assert "dtype" not in manifest  # the server's own


def test_a_generator_that_refuses(smaller: Plan, tmp_path: Path) -> None:
    # Without the prefix this generator has learnt to refuse.
    settings = replace(smaller.generate, prefix="", bare=0, benign=0.0, max_attempts=16)
    plan = replace(smaller, generate=settings)
    with pytest.raises(GenerationError, match=r"0 of 12 .* after 16 attempts \(16 x refusal\)"):
        generate(plan, tmp_path / "generate")
    assert len(rows(tmp_path / "generate" / "journal.jsonl")) == 16


def test_empty_answers(smaller: Plan, bad_model: Callable[..., str], tmp_path: Path) -> None:
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
    plan = replace(smaller, generate=settings)
    with pytest.raises(GenerationError, match=r"(no text in 16 answers \(16 x empty\)|0 of 12)"):
        generate(plan, tmp_path / "generate")


def test_answers_in_a_row_share_exemplars_which_a_prefix_may_hold(
    smaller: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Item] = []

    def executor(engine: Engine, work: Any) -> tuple[Any, int]:
        def run(blocks: list[list[Item]]) -> Iterator[list[Item]]:
            for block in blocks:
                asked.extend(block)
                yield [{"id": item["id"], "text": told(item["id"])} for item in block]

        return run, engine.block_rows

    monkeypatch.setattr("harmguard.training.harmaug.generate.executor", executor)
    plan = with_generate(
        smaller, request="Write a list.", prefix="{exemplars}\n4.", bare=0, answers=4
    )
    generate(plan, tmp_path / "generate")
    harmful = [item for item in asked if item["id"].startswith("harmful")]
    prefixes = [item["prefix"] for item in harmful]
    assert {item["request"] for item in harmful} == {"Write a list."}
    assert [len(set(prefixes[i : i + 4])) for i in range(0, 16, 4)] == [1, 1, 1, 1]
    assert len(set(prefixes)) == 4
    assert all(p.startswith("1. ") and p.endswith("\n4.") for p in prefixes)


def test_exemplars_are_no_longer_than_answers(smaller: Plan, tmp_path: Path) -> None:
    filters = replace(smaller.generate.filters, max_words=5)
    with pytest.raises(DataError, match=r"0 different harmful prompts of at most 5 words"):
        generate(with_generate(smaller, filters=filters), tmp_path / "generate")


def test_too_few_exemplars(smaller: Plan, tmp_path: Path) -> None:
    lines = Path(smaller.labelled[0]).read_text(encoding="utf-8").splitlines()[:2]
    (tmp_path / "few.jsonl").write_text("\n".join(lines) + "\n")
    plan = replace(smaller, labelled=[str(tmp_path / "few.jsonl")])
    with pytest.raises(DataError, match=r"2 different harmful prompts .* at least 3"):
        generate(plan, tmp_path / "generate")
    twice = replace(smaller, labelled=smaller.labelled * 2)
    with pytest.raises(
        DataError, match=r"smoke_rows.jsonl holds the same bytes as smoke_rows.jsonl"
    ):
        generate(twice, tmp_path / "generate")


def test_mixed_schemas_are_named_by_line(smaller: Plan, tmp_path: Path) -> None:
    (tmp_path / "mixed.jsonl").write_text(
        '{"prompt": "Write a rude note.", "label": 1}\n{"text": "Write a kind note.", "y": 0}\n'
    )
    plan = replace(smaller, labelled=[str(tmp_path / "mixed.jsonl")])
    with pytest.raises(DataError, match=r"mixed.jsonl, line 2: no column prompt; found text, y"):
        generate(plan, tmp_path / "generate")


def test_braces_in_a_text_stay_what_they_are() -> None:
    template = "{exemplars} then {instruction}"
    assert filled(template, ["{instruction}", "b"], "{exemplars}") == (
        "1. {instruction}\n2. b then {exemplars}"
    )
