"""docs/train-your-own.md, run as it stands: only the student is a tiny one."""

from __future__ import annotations

import csv
import json
import random
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from harmguard import HarmGuard
from tests import hub
from tests.training import tiny

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "train-your-own.md"
POSITIONS = 256


def block(language: str) -> str:
    """The one fenced block of a language in the page."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return str(found)


def write_rows(path: Path, count: int, seed: int, separator: str = ",") -> Path:
    """`count` rows with the page's own first: JSON Lines, or CSV as a spreadsheet saves it."""
    order = random.Random(seed)
    lines = list(csv.reader(block("csv").splitlines()))
    for i in range(count + 1 - len(lines)):
        words = tiny.HARM if i % 2 else tiny.SAFE
        prompt, response = (
            " ".join(order.choices(words, k=order.randint(3, 20))) for _ in range(2)
        )
        lines.append([f"{prompt} {path.stem} {i}", response if i % 4 > 1 else "", str(i % 2)])
    if path.suffix == ".csv":
        with path.open("w", encoding="utf-8-sig", newline="") as file:
            csv.writer(file, delimiter=separator, lineterminator="\r\n").writerows(lines)
    else:
        rows = [
            {"prompt": prompt, "response": response or None, "label": int(label)}
            for prompt, response, label in lines[1:]
        ]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


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


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A hub that has the page's student."""
    pytest.importorskip("onnx", reason="the page exports: needs the extra [export]")
    folder = tmp_path_factory.mktemp("student")
    write_student(folder)
    name = tomllib.loads(block("toml"))["student"]["path"].removeprefix("hub:")
    with hub.serve(folder, name) as found:
        yield found


def walk(folder: Path, address: str, suffix: str, rows: int) -> dict[str, str]:
    """The page's five commands on files of one kind; what each says on stderr."""
    config = block("toml").replace(".csv", suffix)
    (folder / "distill.toml").write_text(config, encoding="utf-8")
    for seed, name in enumerate(("train", "val", "test")):
        write_rows(folder / f"{name}{suffix}", rows, seed)
    said = {}
    commands = block("sh").replace(".csv", suffix).splitlines()
    assert len(commands) == 5
    for line in commands:
        program, command, *arguments = shlex.split(line)
        assert program == "harmguard"
        done = run(folder, address, "-m", program, command, *arguments)
        assert done.returncode == 0, f"{line}: {done.stderr}"
        assert "Traceback" not in done.stderr
        said[command] = done.stderr
    assert re.fullmatch(r"[01]\.\d{4}\n", done.stdout)
    with HarmGuard(folder / "mine", threshold="default") as guard:
        assert 0 <= guard.score("How do I bake bread?") <= 1
    assert sorted(path.suffix for path in (folder / "report").iterdir())
    return said


def run(folder: Path, address: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=hub.environment(address, folder / "home"),
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_page_works_as_it_stands_on_30_rows_of_a_spreadsheet(
    tmp_path: Path, address: str
) -> None:
    said = walk(tmp_path, address, ".csv", 30)
    # The page's own rows stand in every file, and the rows are few: all of it is said.
    for cause in (
        "TrainingWarning: 30 rows are fewer than a batch of 32",
        "TrainingWarning: optim.warmup_steps is 100 and the run has 2 steps",
        "TrainingWarning: 4 of 30 rows of val.csv are trained on, the first of them row 1",
        "TrainingWarning: 4 of 30 rows of test.csv are trained on",
    ):
        assert cause in said["train"]
    assert "note: the temperature stays 1: " in said["calibrate"]
    done = run(tmp_path, address, "-c", block("python"))
    assert done.stdout.startswith("Verdict("), done.stderr


def test_semicolons_are_refused_with_the_right_hint(tmp_path: Path, address: str) -> None:
    write_rows(tmp_path / "train.csv", 30, 0, ";")
    (tmp_path / "distill.toml").write_text(block("toml"), encoding="utf-8")
    arguments = ("train", "distill", "distill.toml", "--out", "run")
    done = run(tmp_path, address, "-m", "harmguard", *arguments)
    assert done.returncode == 3
    assert done.stderr.startswith("harmguard: DataError: train.csv: the columns stand between ")
    assert "semicolons; expected commas; likely saved by a spreadsheet" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
@pytest.mark.parametrize("rows", [30, 3000])
def test_the_page_works_on_files_of_each_kind(
    tmp_path: Path, address: str, suffix: str, rows: int
) -> None:
    said = walk(tmp_path, address, suffix, rows)
    assert ("fewer than a batch" in said["train"]) is (rows == 30)
    assert ("the temperature stays" in said["calibrate"]) is (rows == 30)
    if rows == 3000:
        assert "warmup_steps" not in said["train"]
