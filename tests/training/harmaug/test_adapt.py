"""Continual fine-tuning: a tiny student learns new rude words and keeps the old ones."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmguard.cli import main
from harmguard.errors import CheckpointError, ConfigError, StageError
from harmguard.rows import Row, read_rows
from harmguard.training.distil.config import Config, Data, Optim, Student
from harmguard.training.distil.distill import distill
from harmguard.training.distil.row_order import plan
from harmguard.training.harmaug import adapt as adapt_module
from harmguard.training.harmaug.adapt import adapt, filling, mixed, read_adapt, step_rows
from harmguard.training.stage_inputs import unique
from tests.training import tiny

TOML = """\
student = "run/student"
new = ["attack.jsonl"]
replay = ["old.jsonl"]
old_eval = ["old_eval.jsonl"]
new_eval = ["attack_eval.jsonl"]
replay_rows = 2.0

[optim]
lr = 1e-2
epochs = 4
batch_rows = 16
device_rows = 16
warmup_steps = 0
precision = "fp32"
"""


def ciphered(text: str) -> str:
    """The new attack, which no view undoes: every letter of a word twice, and those backwards."""
    return " ".join("".join(c + c for c in word[::-1]) for word in text.split())


def write(path: Path, count: int, seed: int, *, attack: bool) -> None:
    rng = random.Random(seed)
    lines = []
    for i in range(count):
        text = " ".join(rng.choices(tiny.HARM if i % 2 else tiny.SAFE, k=6))
        value = {"id": f"{path.stem}{i}", "prompt": ciphered(text) if attack else text}
        lines.append(json.dumps({**value, "label": i % 2, "task": "prompt"}))
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student that knows the old rows, and the files of an attack."""
    folder = tmp_path_factory.mktemp("adapt")
    sets = (("old", 96), ("attack", 48), ("old_eval", 48), ("attack_eval", 48))
    for seed, (name, count) in enumerate(sets):
        write(folder / f"{name}.jsonl", count, seed, attack="attack" in name)
    base = tiny.student(folder / "base", "bert")
    sizes = {"epochs": 4, "batch_rows": 16, "device_rows": 16, "warmup_steps": 0}
    optim = Optim(lr=1e-2, precision="fp32", **sizes)
    data = Data([str(folder / "old.jsonl")])
    config = Config(Student(str(base), max_tokens=64, dropout=0.0), data, optim=optim)
    distill(config, folder / "run")
    (folder / "adapt.toml").write_text(TOML)
    return folder


def test_the_new_is_learnt_and_the_old_is_kept(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", "adapt", str(folder / "adapt.toml"), "--out", str(folder / "adapted")]
    assert main(command) == 0
    report = json.loads((folder / "adapted" / "adapt.json").read_text())
    before, after = report["before"], report["after"]
    assert report["rows"] == {"new": 48, "replay": 96}
    assert after["new"]["auprc"] > before["new"]["auprc"] + 0.05
    assert after["new"]["f1"] > 0.8
    assert after["old"]["f1"] > 0.9
    out = capsys.readouterr().out
    assert f"new: f1 {before['new']['f1']:.4f} -> {after['new']['f1']:.4f}" in out
    # Again: nothing is trained twice, and the figures are the same.
    weights = (folder / "adapted" / "student" / "model.safetensors").stat().st_mtime_ns
    assert adapt(read_adapt(folder / "adapt.toml"), folder / "adapted")["after"] == after
    assert (folder / "adapted" / "student" / "model.safetensors").stat().st_mtime_ns == weights


@given(st.integers(1, 20), st.integers(0, 50), st.floats(0, 5), st.integers(0, 9))
def test_replay_is_drawn_without_repeats(new: int, old: int, per_new: float, seed: int) -> None:
    rows = [Row(str(i), "Hello.", None, 0) for i in range(new + old)]
    found = mixed(rows[:new], rows[new:], per_new, seed)
    assert found[:new] == rows[:new]
    assert len(found) - new == min(old, round(per_new * new))
    assert found == mixed(rows[:new], rows[new:], per_new, seed)


@given(
    count=st.integers(1, 700),
    device_rows=st.sampled_from([1, 3, 8]),
    accumulated=st.integers(1, 32),
    devices=st.integers(1, 3),
)
def test_every_row_is_in_every_epoch(
    count: int, device_rows: int, accumulated: int, devices: int
) -> None:
    rows = [Row(str(i), "Hello.", None, int(i < count // 5)) for i in range(count)]
    optim = Optim(batch_rows=device_rows * devices * accumulated, device_rows=device_rows)
    batch_rows = step_rows(len(rows), optim, devices)
    filled = filling(rows, batch_rows)
    assert batch_rows <= optim.batch_rows
    assert batch_rows % (device_rows * devices) == 0
    assert {row.weight for row in filled} <= {0.0}
    every = unique([*rows, *filled])
    batches = plan(
        every, [1] * len(every), epochs=2, batch_rows=batch_rows, balance=False, seed=0
    )  # fmt: skip
    # No step of filling alone, and each row once an epoch.
    assert all(min(batch) < count for batch in batches)
    for half in (batches[: len(batches) // 2], batches[len(batches) // 2 :]):
        assert sorted(i for batch in half for i in batch) == list(range(len(every)))


def test_few_rows_are_one_small_step(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder / "few.jsonl", 5, 9, attack=True)
    text = TOML.replace("attack.jsonl", "few.jsonl").replace("batch_rows = 16", "batch_rows = 256")
    text = text.replace("device_rows = 16", "device_rows = 8").replace("epochs = 4", "epochs = 1")
    (folder / "few.toml").write_text(text)
    report = adapt(read_adapt(folder / "few.toml"), tmp_path / "out")
    assert (report["rows"], report["batch_rows"]) == ({"new": 5, "replay": 10}, 16)
    trained_on = read_rows(tmp_path / "out" / "rows.jsonl")
    assert [row.weight for row in trained_on] == [1.0] * 15 + [0.0]
    card = json.loads((tmp_path / "out" / "student" / "harmguard_training.json").read_text())
    assert sum(source["rows"] for source in card["training"]["data"]) == 15
    # A machine with another number of devices keeps the steps that were begun with.
    before = (tmp_path / "out" / "rows.jsonl").read_bytes()
    monkeypatch.setattr(adapt_module, "devices", lambda: 4)
    assert adapt(read_adapt(folder / "few.toml"), tmp_path / "out") == report
    for old, new, key in (("epochs = 1", "epochs = 2", "optim"), ("= 2.0", "= 1.0", "replay_rows")):
        (folder / "other.toml").write_text(text.replace(old, new))
        with pytest.raises(ConfigError, match=f"out holds a run with another {key}"):
            adapt(read_adapt(folder / "other.toml"), tmp_path / "out")
    write(folder / "few.jsonl", 6, 9, attack=True)
    with pytest.raises(ConfigError, match="out holds a run with another rows"):
        adapt(read_adapt(folder / "few.toml"), tmp_path / "out")
    assert (tmp_path / "out" / "rows.jsonl").read_bytes() == before


def test_a_step_must_divide_among_the_devices() -> None:
    with pytest.raises(ConfigError, match=r"not a multiple of optim\.device_rows 8 times 4"):
        step_rows(70, Optim(batch_rows=16, device_rows=8), 4)


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("replay_rows = 2.0", "replay_rows = -1.0", "replay_rows from 0"),
        ('new = ["attack.jsonl"]', "new = []", "files in new"),
        ('replay = ["old.jsonl"]', "replay = []", "replay_rows is 2.0, replay names no file"),
        ("student =", "guard =", "unknown key 'guard'"),
        ("student =", "student = =", "is not TOML"),
        ("device_rows = 16", "device_rows = 5", "multiple of"),
    ],
)
def test_wrong_settings(tmp_path: Path, old: str, new: str, match: str) -> None:
    (tmp_path / "a.toml").write_text(TOML.replace(old, new))
    with pytest.raises(ConfigError, match=match):
        read_adapt(tmp_path / "a.toml")


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no config file a.toml"):
        read_adapt(tmp_path / "a.toml")
    (tmp_path / "a.toml").write_text(TOML)
    with pytest.raises(CheckpointError, match="does not say how many tokens"):
        adapt(read_adapt(tmp_path / "a.toml"), tmp_path / "out")


def test_a_folder_that_cannot_be_made(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StageError, match="out cannot be written"):
        adapt(read_adapt(folder / "adapt.toml"), tmp_path / "file" / "out")


def test_an_eval_set_of_one_label(folder: Path, tmp_path: Path) -> None:
    one = folder / "one.jsonl"
    one.write_text('{"prompt": "a rude hat", "label": 1}\n')
    (folder / "one.toml").write_text(TOML.replace("attack_eval.jsonl", one.name))
    with pytest.raises(ConfigError, match="new_eval has no source with both labels"):
        adapt(read_adapt(folder / "one.toml"), tmp_path / "out")
