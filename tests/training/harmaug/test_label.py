"""Stage 3: soft labels beside a plain reference, every kind of teacher, every way to fail."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from harmguard import HarmGuard
from harmguard.checkpoint import load_checkpoint
from harmguard.errors import DataError, TeacherError
from harmguard.rows import read_rows
from harmguard.training.harmaug.label import label
from harmguard.training.harmaug.plan import Label, Plan
from harmguard.training.models import Model


@pytest.fixture
def data(smoke: Plan) -> list[Path]:
    return [Path(smoke.labelled[0]), Path(smoke.evaluate[0])]


def with_label(plan: Plan, **settings: Any) -> Plan:
    return replace(plan, label=replace(plan.label, **settings))


def plain_soft(folder: str, prompt: str, response: str | None, temperature: float) -> float:
    """The verdict's softmax, one row at a time and straight from the model."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    turns = [{"role": "user", "content": prompt}]
    turns += [{"role": "assistant", "content": response}] if response is not None else []
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    ids = tokenizer(text + "\n\n", add_special_tokens=False, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        logits = model(ids).logits[0, -1].double()
    pair = [tokenizer.convert_tokens_to_ids(word) for word in ("safe", "unsafe")]
    return float(torch.softmax(logits[pair] / temperature, 0)[1])


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_soft_labels_equal_a_plain_reference(
    smoke: Plan, data: list[Path], tmp_path: Path, temperature: float
) -> None:
    plan = with_label(smoke, temperature=temperature)
    manifest = label(plan, data, tmp_path / "label")
    made = read_rows(tmp_path / "label" / "rows.jsonl")
    for row in made[::6]:
        expected = plain_soft(plan.label.model.path, *row.pair, temperature)
        assert row.soft == pytest.approx(expected, abs=1e-6)
    assert manifest["label"]["temperature"] == temperature
    # The teacher was trained to tell safe from unsafe, also on rows that it never saw.
    assert manifest["summary"]["agreement_with_hard_labels"] > 0.95
    assert [row.id for row in made] == [row.id for path in data for row in read_rows(path)]
    assert [row.label for row in made] == [r.label for path in data for r in read_rows(path)]


def test_the_response_reaches_the_teacher(smoke: Plan, tmp_path: Path) -> None:
    prompt = "Write a rude note for my boss about the hat."
    answers = {
        "a": "Sure, here it is: Your hat is ugly, boss, and you are a fool.",
        "b": "I cannot help with that.",
    }
    lines = [json.dumps({"id": i, "prompt": prompt, "response": r}) for i, r in answers.items()]
    lines.append(json.dumps({"id": "c", "prompt": prompt}))
    (tmp_path / "pairs.jsonl").write_text("\n".join(lines))
    label(smoke, [tmp_path / "pairs.jsonl"], tmp_path / "label")
    harmful, refused, alone = (r.soft or 0.0 for r in read_rows(tmp_path / "label" / "rows.jsonl"))
    assert harmful > 0.9
    assert refused < 0.1
    assert alone > 0.9


def test_rows_too_long_for_the_teacher_are_counted_and_left_out(
    smoke: Plan, data: list[Path], tmp_path: Path
) -> None:
    manifest = label(with_label(smoke, max_tokens=30), data, tmp_path / "label")
    left_out = manifest["summary"]["without_verdict"]["too long for the teacher"]
    rejects = (tmp_path / "label" / "rejects.jsonl").read_text().splitlines()
    assert left_out == len(rejects) > 0
    made = read_rows(tmp_path / "label" / "rows.jsonl")
    assert len(made) + left_out == 88
    with pytest.raises(TeacherError, match="no verdict on any of 88 rows"):
        label(with_label(smoke, max_tokens=1), data, tmp_path / "none")


def test_a_classifier_is_a_teacher(
    smoke: Plan, data: list[Path], tiny_checkpoint: Path, tmp_path: Path
) -> None:
    teacher = Label(Model(str(tiny_checkpoint)), kind="classifier")
    label(replace(smoke, label=teacher), data, tmp_path / "label")
    made = read_rows(tmp_path / "label" / "rows.jsonl")
    expected = load_checkpoint(tiny_checkpoint).score_many([row.pair for row in made])
    assert np.abs(np.array([row.soft for row in made]) - expected).max() < 1e-6


def test_a_bundle_is_a_teacher_and_a_temperature_softens_it(
    smoke: Plan, data: list[Path], word_bundle: Path, tmp_path: Path
) -> None:
    teacher = Label(Model(str(word_bundle)), kind="bundle", temperature=2.0)
    (tmp_path / "rows.jsonl").write_text('{"prompt": "word50", "response": "word45 word41"}\n')
    label(replace(smoke, label=teacher), [tmp_path / "rows.jsonl"], tmp_path / "label")
    (row,) = read_rows(tmp_path / "label" / "rows.jsonl")
    with HarmGuard(word_bundle) as guard:
        score = guard.score(*row.pair)
    logit = math.log(score / (1 - score))
    assert row.soft == pytest.approx(1 / (1 + math.exp(-logit / 2)), abs=1e-6)


def test_a_teacher_whose_logits_are_no_numbers(
    smoke: Plan, data: list[Path], bad_model: Callable[..., str], tmp_path: Path
) -> None:
    def damage(folder: Path) -> None:
        from safetensors.torch import load_file, save_file

        weights = load_file(folder / "model.safetensors")
        weights["model.norm.weight"].fill_(float("nan"))
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    plan = with_label(smoke, model=Model(bad_model("teacher", damage)))
    with pytest.raises(TeacherError, match="logits that are not finite"):
        label(plan, data, tmp_path / "label")


def test_a_label_outside_0_to_1(smoke: Plan, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"prompt": "Hello.", "soft": 1.5}\n')
    with pytest.raises(DataError, match=r"line 1: soft is missing or wrong; expected a probab"):
        label(smoke, [tmp_path / "rows.jsonl"], tmp_path / "label")
