from __future__ import annotations

import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from harmguard.checkpoint import Checkpoint, load_checkpoint, load_student
from harmguard.core.encode import Window
from harmguard.errors import CheckpointError, DataError
from harmguard.rows import Row, read_rows
from harmguard.training.distil.batches import encode_rows, row_weights
from harmguard.training.distil.config import Config, Data
from harmguard.training.distil.distill import distill
from harmguard.training.distil.loss import distillation_loss
from harmguard.training.distil.row_order import plan
from tests import processes
from tests.training import tiny

TIERS = {"A": 1.0, "B": 0.7, "C": 0.4}


@pytest.fixture(params=["bert", "deberta"])
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


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
    start = load_student(config.student.path, 64)
    windows = encode_rows(rows, start.encoder, 0)
    optim = config.optim
    batches = plan(
        rows, [len(w.ids) for w in windows], epochs=optim.epochs, batch_rows=optim.batch_rows,
        balance=True, seed=0,
    )  # fmt: skip
    model = start.model
    decayed = [p for n, p in model.named_parameters() if "bias" not in n and "LayerNorm" not in n]
    plain = [p for n, p in model.named_parameters() if "bias" in n or "LayerNorm" in n]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": optim.weight_decay},
         {"params": plain, "weight_decay": 0.0}], lr=optim.lr)  # fmt: skip
    weights = row_weights(rows, TIERS)
    (batch,) = batches
    _loss(start, [rows[i] for i in batch], [windows[i] for i in batch],
          [weights[i] for i in batch]).backward()  # fmt: skip
    torch.nn.utils.clip_grad_norm_(model.parameters(), optim.clip_norm)
    optimizer.step()
    weights_after = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    return weights_after, {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


def _loss(
    start: Checkpoint, rows: list[Row], windows: list[Window], weights: list[float]
) -> Tensor:
    logits = start.model(**start.collate(windows)).logits
    soft = torch.tensor([float("nan") if r.soft is None else r.soft for r in rows])
    labels = torch.tensor([r.hard for r in rows])
    return distillation_loss(logits, labels, soft, torch.tensor(weights)) / len(rows)


def test_one_step_equals_a_plain_torch_loop(tmp_path: Path, family: str) -> None:
    config = tiny.distillation(tmp_path, family, rows=32)
    student = distill(config, tmp_path / "run")
    expected, gradients = _plain_step(config)
    assert _difference_of_step(_weights(student), expected, gradients) < 1e-6


def test_a_run_in_another_precision_before_it_changes_nothing(tmp_path: Path) -> None:
    config = tiny.distillation(tmp_path, "bert", rows=32)
    auto = replace(config, optim=replace(config.optim, precision="auto"))
    distill(auto, tmp_path / "auto")  # in bfloat16 where the processor has it
    expected, gradients = _plain_step(config)
    student = distill(config, tmp_path / "run")
    assert _difference_of_step(_weights(student), expected, gradients) < 1e-6


def test_8_rows_accumulated_4_times_equal_32_at_once(tmp_path: Path, family: str) -> None:
    config = tiny.distillation(tmp_path, family, rows=32)
    whole = distill(config, tmp_path / "whole")
    split = replace(config, optim=replace(config.optim, device_rows=8))
    parts = distill(split, tmp_path / "parts")
    _, gradients = _plain_step(config)
    assert _difference_of_step(_weights(whole), _weights(parts), gradients) < 1e-6


def test_two_processes_equal_one(tmp_path: Path) -> None:
    config = tiny.distillation(tmp_path, "bert", rows=32, device_rows=8)
    path = tmp_path / "distill.toml"
    path.write_text(
        f'[student]\npath = "{config.student.path}"\nmax_tokens = 64\ndropout = 0.0\n'
        '[data]\ntrain = ["rows32.jsonl"]\n[optim]\nlr = 1e-2\nepochs = 1\nbatch_rows = 32\n'
        'precision = "fp32"\n'
        "device_rows = 8\nwarmup_steps = 0\n",
        encoding="utf-8",
    )
    command = _command(path, tmp_path / "two")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
    # What torchrun sets.
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    ranks = [{**shared, "RANK": str(n), "LOCAL_RANK": str(n)} for n in range(2)]
    with ThreadPoolExecutor(2) as pool:
        ended = list(pool.map(lambda rank: processes.run(command, env=rank), ranks))
    assert [done.returncode for done in ended] == [0, 0], [done.stderr[-4000:] for done in ended]
    expected, gradients = _plain_step(config)
    found = _weights(tmp_path / "two" / "student")
    assert _difference_of_step(found, expected, gradients) < 1e-6


def test_it_learns_and_says_what_it_was_made_from(tmp_path: Path) -> None:
    config = replace(
        tiny.distillation(tmp_path, "bert", rows=128, epochs=4),
        card={"name": "t", "licence": "Apache-2.0"},
    )
    out = tmp_path / "run"
    student = distill(config, out)
    assert student == out / "student"
    card = json.loads((student / "harmguard_training.json").read_text(encoding="utf-8"))
    assert (card["name"], card["licence"], card["max_tokens"]) == ("t", "Apache-2.0", 64)
    assert card["training"]["data"] == [{"source": "unknown", "licence": "unknown", "rows": 128}]
    assert len(card["run"]["data_sha256"][0]) == 64
    found = load_checkpoint(student)
    rows = read_rows(Path(config.data.train[0]))
    windows = encode_rows(rows, found.encoder, 0)
    logits = found.model(**found.collate(windows)).logits
    right = (logits.argmax(-1) == torch.tensor([r.label for r in rows])).float().mean()
    assert right > 0.95
    # The finished run is found again, and nothing is trained twice.
    before = (student / "model.safetensors").stat().st_mtime_ns
    assert distill(config, out) == student
    assert (student / "model.safetensors").stat().st_mtime_ns == before


def _command(config: Path, out: Path) -> list[str]:
    return ["-m", "harmguard", "train", "distill", str(config), "--out", str(out)]


def test_a_killed_run_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    # 40 steps, with dropout, killed once a checkpoint is whole.
    config, out = tiny.config_file(tmp_path), tmp_path / "run"
    whole = out.with_name("whole")
    assert processes.run(_command(config, whole)).returncode == 0
    process = processes.start(_command(config, out))
    states, deadline = out / "checkpoints", time.monotonic() + 120
    while not list(states.glob("checkpoint-*/complete")) and time.monotonic() < deadline:
        time.sleep(0.002)
    process.kill()
    process.join()
    assert not (out / "student").exists()
    left = states / "checkpoint-39"
    if not left.exists():  # a save that was cut short must not be resumed from
        left.mkdir()
    (left / "complete").unlink(missing_ok=True)
    assert processes.run(_command(config, out)).returncode == 0
    assert _difference(_weights(whole / "student"), _weights(out / "student")) == 0.0


def test_errors(tmp_path: Path) -> None:
    config = tiny.distillation(tmp_path, "bert", rows=32)
    licensed = replace(config, data=replace(config.data, licences=["permissive"]))
    with pytest.raises(DataError, match="none of 32 rows has a licence in"):
        distill(licensed, tmp_path / "a")
    long = replace(config, student=replace(config.student, max_tokens=65))
    with pytest.raises(CheckpointError, match="max_tokens is 65; expected at most 64, the model"):
        distill(long, tmp_path / "b")
    bare = tmp_path / "bare.jsonl"
    bare.write_text('{"prompt": "hello"}\n', encoding="utf-8")
    with pytest.raises(DataError, match="no column label or soft; found prompt"):
        distill(replace(config, data=Data([str(bare)])), tmp_path / "c")


@pytest.mark.parametrize(("tokens", "positions"), [(32, 64), (128, 128)])
def test_a_deberta_keeps_the_distances_that_it_knows(
    tmp_path: Path, tokens: int, positions: int
) -> None:
    folder = tiny.student(tmp_path / "deberta", "deberta")  # it has 64
    found = load_student(folder, tokens)
    assert found.config.max_position_embeddings == positions
    assert found.encoder.max_tokens == tokens
