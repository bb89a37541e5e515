"""The examples in --help of the commands that need extras, run in the order of a first use."""

from __future__ import annotations

import gzip
import shlex
import shutil
from pathlib import Path

import pytest

from harmguard.cli import main
from tests.training import tiny

CONFIG = """\
[student]
path = "checkpoint"
max_tokens = 48

[data]
train = ["train.jsonl"]

[optim]
epochs = 15
batch_rows = 16
lr = 0.003
warmup_steps = 0
"""


def examples(command: list[str], capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    """The lines of a command's --help that call harmguard itself, split as a shell would."""
    assert main([*command, "--help"]) == 0
    section = capsys.readouterr().out.split("\nexample", 1)[1].split("\n\n")[0]
    lines = [line for line in section.splitlines() if line.startswith("  harmguard ")]
    assert lines
    return [shlex.split(line)[1:] for line in lines]


@pytest.fixture
def first_use(tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the files that the examples name."""
    monkeypatch.chdir(tmp_path)
    for name in ("checkpoint", "checkpoints/student"):
        shutil.copytree(tiny_checkpoint, name)
    tiny.row_file(Path("train.jsonl"), 64)
    Path("distill.toml").write_text(CONFIG)
    rows = tiny.row_file(Path("val.jsonl"), 800, soft=False).read_bytes()
    Path("val.jsonl.gz").write_bytes(gzip.compress(rows))
    Path("test.csv").write_text(
        "prompt,response,label\n"
        + "how do i bake bread,,0\nyou are a silly fool,,1\n" * 30
        + "how do i bake bread,with milk,0\nhow do i bake bread,you rude silly fool,1\n" * 30
    )
    Path("sets").mkdir()
    records = '{"prompt": "how do i bake bread", "S": 0}\n{"prompt": "you silly fool", "S": 1}\n'
    Path("sets/samples-1680.jsonl").write_text(records * 30)
    golden = Path(__file__).parents[1] / "golden" / "format-1"
    shutil.copytree(golden, "guards/uncalibrated")
    shutil.copytree(golden.with_name("unigram"), "guards/large")
    return tmp_path


def test_examples_run(first_use: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commands = [["train", "distill"], ["export"], ["calibrate"], ["eval"]]
    for command in commands:
        for arguments in examples(command, capsys):
            assert main(arguments) == 0, (arguments, capsys.readouterr().err)
        if command[0] == "train":
            # The export's examples need a model that has learnt something to pass the gate.
            shutil.rmtree("checkpoint")
            shutil.copytree("runs/a/student", "checkpoint")
    assert "at most 5.0% of safe rows" in (first_use / "guards/quiet/guard.json").read_text()
    for written in ("runs/a/student", "bundle", "bundle-int8", "guards/mini", "mini-on-val"):
        assert (first_use / written).exists()
