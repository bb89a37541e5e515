"""docs/train-your-own.md, run as it stands: only the student is a tiny one."""

from __future__ import annotations

import csv
import random
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from harmguard import HarmGuard
from tests import processes
from tests.training import tiny

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "train-your-own.md"
POSITIONS = 256


def block(language: str) -> str:
    """The one fenced block of a language in the page."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return str(found)


def write_csv(path: Path, count: int, seed: int) -> None:
    """The page's own rows, and more with the same columns."""
    rng = random.Random(seed)
    lines = list(csv.reader(block("csv").splitlines()))
    for i in range(count):
        words = tiny.HARM if i % 2 else tiny.SAFE
        prompt, response = (" ".join(rng.choices(words, k=rng.randint(3, 20))) for _ in range(2))
        lines.append([prompt, response if i % 4 > 1 else "", str(i % 2)])
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(lines)


def write_student(folder: Path) -> None:
    """A random BERT of two layers with the positions that the page's config asks for."""
    torch.manual_seed(5)
    tokenizer = tiny.tokenizer()
    tokenizer.model_max_length = POSITIONS
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=POSITIONS,
    )
    BertForSequenceClassification(config).save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))


def test_the_page_works_as_it_stands(tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="the page exports: needs the extra [export]")
    config = block("toml")
    (tmp_path / "distill.toml").write_text(config, encoding="utf-8")
    write_student(tmp_path / tomllib.loads(config)["student"]["path"])
    for seed, (name, count) in enumerate((("train", 96), ("val", 96), ("test", 48))):
        write_csv(tmp_path / f"{name}.csv", count, seed)
    commands = block("sh").splitlines()
    assert len(commands) == 5

    def run(*arguments: str) -> str:
        done = processes.run(arguments, cwd=tmp_path)
        assert done.returncode == 0, f"{arguments}: {done.stderr}"
        return done.stdout

    for line in commands:
        program, *arguments = shlex.split(line)
        assert program == "harmguard"
        output = run("-m", "harmguard", *arguments)
    assert re.fullmatch(r"[01]\.\d{4}\n", output)
    assert run("-c", block("python")).startswith("Verdict(")
    with HarmGuard(tmp_path / "mine", threshold="default") as guard:
        assert 0 <= guard.score("How do I bake bread?") <= 1
    assert sorted(path.suffix for path in (tmp_path / "report").iterdir())
