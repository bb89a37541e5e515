from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForSequenceClassification

from harmguard._encode import Window
from harmguard.errors import CheckpointError, ConfigError, DataError
from harmguard.training.checkpoint import collate, load_encoder
from harmguard.training.config import Config, Data, Optim, Student, read_config
from harmguard.training.data import Row, read_rows
from harmguard.training.distill import (
    distill,
    encode_rows,
    load_student,
    row_weights,
)
from harmguard.training.loss import distillation_loss
from harmguard.training.schedule import plan
from tests.training import tiny

TIERS = {"A": 1.0, "B": 0.7, "C": 0.4}


@pytest.fixture(params=["bert", "deberta"])
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def _config(folder: Path, family: str, *, rows: int = 64, **optim: float) -> Config:
    student = folder / f"student-{family}"
    if not student.exists():
        tiny.student(student, family)
    path = tiny.row_file(folder / f"rows{rows}.jsonl", rows)
    settings = {"lr": 1e-2, "epochs": 1, "batch_rows": 32, "device_rows": 32, "warmup_steps": 0}
    return Config(
        Student(str(student), max_tokens=64, dropout=0.0),
        Data([str(path)]),
        optim=Optim(precision="fp32", **{**settings, **optim}),  # type: ignore[arg-type]
    )


def _weights(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "model.safetensors")


def _difference(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    assert a.keys() == b.keys()
    return max(float((a[key] - b[key]).abs().max()) for key in a)


def _difference_of_step(
    a: dict[str, Tensor], b: dict[str, Tensor], gradients: dict[str, Tensor]
) -> float:
    """The largest difference, where the gradient is more than rounding noise (or a row of zeros).

    Adam's first step has the size of the learning rate whatever the gradient's size, so a
    gradient that is zero but for rounding (a key's bias under softmax) moves at random.
    """
    clear = {k: (g.abs() > 1e-5) | (g == 0).all(-1, keepdim=True) for k, g in gradients.items()}
    assert sum(int(c.sum()) for c in clear.values()) > 0.9 * sum(c.numel() for c in clear.values())
    return max(float((a[k] - b[k]).abs()[c].max()) for k, c in clear.items() if c.any())


def _plain_step(config: Config) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """One optimiser step in plain torch, the reference for the Trainer: weights, gradients."""
    rows = read_rows(Path(config.data.train[0]))
    windows = encode_rows(rows, load_encoder(config.student.path, 64), 0)
    optim = config.optim
    batches = plan(
        rows, [len(w.ids) for w in windows], epochs=optim.epochs, batch_rows=optim.batch_rows,
        balance=True, seed=0,
    )  # fmt: skip
    model = AutoModelForSequenceClassification.from_pretrained(config.student.path).eval()
    decayed = [p for n, p in model.named_parameters() if "bias" not in n and "LayerNorm" not in n]
    plain = [p for n, p in model.named_parameters() if "bias" in n or "LayerNorm" in n]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": optim.weight_decay},
         {"params": plain, "weight_decay": 0.0}], lr=optim.lr)  # fmt: skip
    weights = row_weights(rows, TIERS)
    (batch,) = batches
    _loss(model, [rows[i] for i in batch], [windows[i] for i in batch],
          [weights[i] for i in batch]).backward()  # fmt: skip
    torch.nn.utils.clip_grad_norm_(model.parameters(), optim.clip_norm)
    optimizer.step()
    weights_after = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    return weights_after, {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


def _loss(
    model: torch.nn.Module, rows: list[Row], windows: list[Window], weights: list[float]
) -> Tensor:
    settings: Any = model.config
    logits = model(**collate(windows, 0, types=settings.type_vocab_size > 1)).logits
    soft = torch.tensor([float("nan") if r.soft is None else r.soft for r in rows])
    labels = torch.tensor([r.hard for r in rows])
    return distillation_loss(logits, labels, soft, torch.tensor(weights)) / len(rows)


def test_one_step_equals_a_plain_torch_loop(tmp_path: Path, family: str) -> None:
    config = _config(tmp_path, family, rows=32)
    student = distill(config, tmp_path / "run")
    expected, gradients = _plain_step(config)
    assert _difference_of_step(_weights(student), expected, gradients) < 1e-6


def test_a_run_in_another_precision_before_it_changes_nothing(tmp_path: Path) -> None:
    config = _config(tmp_path, "bert", rows=32)
    auto = replace(config, optim=replace(config.optim, precision="auto"))
    distill(auto, tmp_path / "auto")  # in bfloat16 where the processor has it
    expected, gradients = _plain_step(config)
    student = distill(config, tmp_path / "run")
    assert _difference_of_step(_weights(student), expected, gradients) < 1e-6


def test_8_rows_accumulated_4_times_equal_32_at_once(tmp_path: Path, family: str) -> None:
    config = _config(tmp_path, family, rows=32)
    whole = distill(config, tmp_path / "whole")
    split = replace(config, optim=replace(config.optim, device_rows=8))
    parts = distill(split, tmp_path / "parts")
    _, gradients = _plain_step(config)
    assert _difference_of_step(_weights(whole), _weights(parts), gradients) < 1e-6


def test_two_processes_equal_one(tmp_path: Path) -> None:
    config = _config(tmp_path, "bert", rows=32, device_rows=8)
    path = tmp_path / "distill.toml"
    path.write_text(
        f'[student]\npath = "{config.student.path}"\nmax_tokens = 64\ndropout = 0.0\n'
        '[data]\ntrain = ["rows32.jsonl"]\n[optim]\nlr = 1e-2\nepochs = 1\nbatch_rows = 32\n'
        'precision = "fp32"\n'
        "device_rows = 8\nwarmup_steps = 0\n",
        encoding="utf-8",
    )
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [*launch, *_command(path, tmp_path / "two")[1:]]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    expected, gradients = _plain_step(config)
    found = _weights(tmp_path / "two" / "student")
    assert _difference_of_step(found, expected, gradients) < 1e-6


def test_it_learns_and_says_what_it_was_made_from(tmp_path: Path) -> None:
    config = replace(
        _config(tmp_path, "bert", rows=128, epochs=4), card={"name": "t", "licence": "Apache-2.0"}
    )
    out = tmp_path / "run"
    student = distill(config, out)
    assert student == out / "student"
    card = json.loads((student / "harmguard_training.json").read_text(encoding="utf-8"))
    assert (card["name"], card["licence"], card["max_tokens"]) == ("t", "Apache-2.0", 64)
    assert card["training"]["data"] == [{"source": "unknown", "licence": "unknown", "rows": 128}]
    assert len(card["run"]["data_sha256"][0]) == 64
    model = AutoModelForSequenceClassification.from_pretrained(student).eval()
    rows = read_rows(Path(config.data.train[0]))
    windows = encode_rows(rows, load_encoder(student, 64), 0)
    logits = model(**collate(windows, 0, types=True)).logits
    right = (logits.argmax(-1) == torch.tensor([r.label for r in rows])).float().mean()
    assert right > 0.95
    # The finished run is found again, and nothing is trained twice.
    before = (student / "model.safetensors").stat().st_mtime_ns
    assert distill(config, out) == student
    assert (student / "model.safetensors").stat().st_mtime_ns == before


@pytest.fixture
def killed(tmp_path: Path) -> tuple[Path, Path]:
    """A run of 40 steps, with dropout, killed once its second checkpoint is whole."""
    tiny.student(tmp_path / "student", "bert")
    tiny.row_file(tmp_path / "rows.jsonl", 64)
    config = tmp_path / "distill.toml"
    config.write_text(
        'save_minutes = 0.0\n[student]\npath = "student"\nmax_tokens = 64\ndropout = 0.2\n'
        '[data]\ntrain = ["rows.jsonl"]\n[optim]\nlr = 1e-3\nepochs = 20\nbatch_rows = 32\n'
        'precision = "fp32"\n'
        "device_rows = 16\nwarmup_steps = 5\n",
        encoding="utf-8",
    )
    return config, tmp_path / "run"


def _command(config: Path, out: Path) -> list[str]:
    return [sys.executable, "-m", "harmguard", "train", "distill", str(config), "--out", str(out)]


def test_a_killed_run_goes_on_to_the_same_weights(killed: tuple[Path, Path]) -> None:
    config, out = killed
    whole = out.with_name("whole")
    subprocess.run(_command(config, whole), check=True, capture_output=True)
    process = subprocess.Popen(
        _command(config, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    states, deadline = out / "checkpoints", time.monotonic() + 120
    while not list(states.glob("checkpoint-*/complete")) and time.monotonic() < deadline:
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (out / "student").exists()
    left = states / "checkpoint-39"
    if not left.exists():  # a save that was cut short must not be resumed from
        left.mkdir()
    (left / "complete").unlink(missing_ok=True)
    subprocess.run(_command(config, out), check=True, capture_output=True)
    assert _difference(_weights(whole / "student"), _weights(out / "student")) == 0.0


def test_a_run_s_folder_is_not_taken_over_by_another_config(tmp_path: Path) -> None:
    config = _config(tmp_path, "bert", rows=32)
    distill(config, tmp_path / "run")
    other = replace(config, optim=replace(config.optim, lr=1.0))
    with pytest.raises(ConfigError, match="run holds a run with another config"):
        distill(other, tmp_path / "run")
    tiny.row_file(Path(config.data.train[0]), 33)
    with pytest.raises(ConfigError, match="another data_sha256"):
        distill(config, tmp_path / "run")


def test_a_run_is_known_by_its_files_wherever_they_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    distill(_config(folder, "bert", rows=32), folder / "run")
    moved = folder.rename(tmp_path / "b")
    monkeypatch.chdir(moved)
    weights = moved / "run" / "student" / "model.safetensors"
    before = weights.stat().st_mtime_ns
    config = _config(moved, "bert", rows=32)
    relative = replace(
        config,
        student=replace(config.student, path="student-bert"),
        data=replace(config.data, train=["rows32.jsonl"]),
    )
    for same, out in ((config, moved / "run"), (relative, Path("run"))):
        assert distill(same, out).resolve() == weights.parent
        assert weights.stat().st_mtime_ns == before
    # Another student in the same place is another run.
    config_file = moved / "student-bert" / "config.json"
    config_file.write_text(config_file.read_text() + "\n")
    with pytest.raises(ConfigError, match="run holds a run with another student"):
        distill(config, moved / "run")
    # What a finished run began from is not needed any more.
    shutil.rmtree(moved / "student-bert")
    assert distill(config, moved / "run") == weights.parent


FULL = """
import resource, sys
from pathlib import Path
from harmguard.errors import StageError
from harmguard.training.config import read_config
from harmguard.training.distill import distill
config = read_config(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)
try:
    distill(config, Path(sys.argv[2]))
except StageError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("what", "minutes", "limit"),
    [
        ("run", "9.0", "100"),  # run.json
        ("a checkpoint", "0.0", "20000"),  # the weights, by safetensors
        ("a checkpoint", "0.0", "120000"),  # the optimizer's state, by torch
        ("run/student", "9.0", "20000"),
    ],
)
def test_a_full_disk_is_named(
    killed: tuple[Path, Path], what: str, minutes: str, limit: str
) -> None:
    config, out = killed
    text = config.read_text(encoding="utf-8").replace("epochs = 20", "epochs = 1")
    text = text.replace("save_minutes = 0.0", f"save_minutes = {minutes}")
    config.write_text(text, encoding="utf-8")
    command = [sys.executable, "-c", FULL, str(config), str(out), limit]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    assert f"{what} cannot be written (" in done.stdout
    assert "likely the disk or the quota is full" in done.stdout
    assert not list(out.glob("*.part"))
    # With room, the same command ends as it should.
    assert distill(read_config(config), out) == out / "student"


def test_errors(tmp_path: Path) -> None:
    config = _config(tmp_path, "bert", rows=32)
    licensed = replace(config, data=replace(config.data, licences=["permissive"]))
    with pytest.raises(DataError, match="none of 32 rows has a licence in"):
        distill(licensed, tmp_path / "a")
    long = replace(config, student=replace(config.student, max_tokens=65))
    with pytest.raises(CheckpointError, match="max_tokens is 65, the model has 64 positions"):
        distill(long, tmp_path / "b")
    bare = tmp_path / "bare.jsonl"
    bare.write_text('{"prompt": "hello"}\n', encoding="utf-8")
    with pytest.raises(DataError, match="1 of 1 rows have neither label nor soft"):
        distill(replace(config, data=Data([str(bare)])), tmp_path / "c")
    with pytest.raises(DataError, match=r"tier 'B' has no weight"):
        distill(replace(config, data=replace(config.data, tier_weights={"A": 1.0})), tmp_path / "d")
    none = dict.fromkeys("ABC", 0.0)
    with pytest.raises(DataError, match="every row has weight 0"):
        distill(replace(config, data=replace(config.data, tier_weights=none)), tmp_path / "e")


def test_benign_rows_show_any_window_and_harmful_ones_the_first(tmp_path: Path) -> None:
    encoder = load_encoder(tiny.student(tmp_path / "s", "bert"), 16)
    text = " ".join(tiny.SAFE * 5)
    rows = [Row(str(i), text, None, label) for label in (0, 1) for i in range(20)]
    windows = [tuple(w.ids.tolist()) for w in encode_rows(rows, encoder, 0)]
    assert len(set(windows[:20])) > 1
    assert set(windows[20:]) == {tuple(encoder.encode(text).windows[0].ids.tolist())}


@pytest.mark.parametrize(("tokens", "positions"), [(32, 64), (128, 128)])
def test_a_deberta_keeps_the_distances_that_it_knows(
    tmp_path: Path, tokens: int, positions: int
) -> None:
    folder = tiny.student(tmp_path / "deberta", "deberta")  # it has 64
    model, encoder = load_student(Student(str(folder), max_tokens=tokens))
    config: Any = model.config
    assert config.max_position_embeddings == positions
    assert encoder.max_tokens == tokens
