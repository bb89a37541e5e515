"""What will go wrong with a training, said before it starts; and what did, said at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from harmguard.errors import DivergedError
from harmguard.rows import Row, read_rows
from harmguard.training.distil.config import Config


def warnings_of(config: Config, rows: Sequence[Row], steps: int) -> Iterator[str]:
    """What in the rows and the settings will likely not give what is wanted."""
    optim = config.optim
    per_epoch = steps // optim.epochs
    if len(rows) < optim.batch_rows:
        yield (
            f"{len(rows)} rows are fewer than a batch of {optim.batch_rows}: each step repeats "
            "some of them; expected more rows, or a smaller optim.batch_rows"
        )
    if optim.warmup_steps >= steps:
        yield (
            f"optim.warmup_steps is {optim.warmup_steps} and the run has {steps} steps ("
            f"{per_epoch} an epoch): the learning rate never reaches optim.lr; expected a "
            "warm-up of a tenth of the run or so"
        )
    labels = {row.hard for row in rows}
    if len(labels) == 1:
        yield (
            f"all {len(rows)} rows have label {labels.pop()}; expected harmful and safe rows: a "
            "student of one label gives it to every text"
        )
    yield from _held_out(config, rows)


def _held_out(config: Config, rows: Sequence[Row]) -> Iterator[str]:
    trained = {_key(row) for row in rows} if config.data.held_out else set()
    for path in map(Path, config.data.held_out):
        held = read_rows(path)
        shared = [number for number, row in enumerate(held, 1) if _key(row) in trained]
        if shared:
            yield (
                f"{len(shared)} of {len(held)} rows of {path.name} are trained on, the first of "
                f"them row {shared[0]}; expected none: its figures will be too good"
            )


def _key(row: Row) -> tuple[str, str | None]:
    """A row's texts, whatever their case and their spaces."""
    prompt, response = row.pair
    return _plain(prompt), None if response is None else _plain(response)


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def check_loss(loss: torch.Tensor, step: int, config: Config) -> None:
    """Raise DivergedError for a loss that is not finite; `step` counts from 1."""
    if not torch.isfinite(loss.detach()):
        raise DivergedError(_diverged(f"the loss of step {step}", config.optim.lr))


def check_weights(model: torch.nn.Module, config: Config) -> None:
    """Raise DivergedError for a trained weight that is not finite."""
    for name, tensor in model.named_parameters():
        if not tensor.isfinite().all():
            raise DivergedError(_diverged(f"{name} after the last step", config.optim.lr))


class FiniteGradients(TrainerCallback):
    """Raises DivergedError before a step with a gradient that is not finite."""

    def __init__(self, config: Config) -> None:
        self._lr = config.optim.lr

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> None:
        """Called by the Trainer with all gradients of the step."""
        gradients = [p.grad for p in more["model"].parameters() if p.grad is not None]
        finite = torch.stack([gradient.isfinite().all() for gradient in gradients])
        if not bool(finite.all()):
            raise DivergedError(_diverged(f"a gradient of step {state.global_step + 1}", self._lr))


def _diverged(what: str, lr: float) -> str:
    return (
        f"{what} is not finite; expected finite numbers; likely optim.lr {lr:g} is too large for "
        "this model, or its weights overflow in bfloat16 (optim.precision); no student is written"
    )
