"""Distil a student guard: `harmguard train distill CONFIG.toml --out DIR`.

    harmguard train distill distill.toml --out runs/a                # CPU or one GPU
    torchrun --nproc-per-node 4 -m harmguard train distill ...       # several GPUs

transformers' Trainer does the steps, the precision, the devices and the checkpoints; the
loss, the order of the rows and the resume rule are ours. A run that was killed goes on
from its last whole checkpoint when the same command is given again.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Sized
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from accelerate.state import AcceleratorState
from torch import Tensor
from torch.utils.data import Dataset, SequentialSampler
from transformers import (
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    set_seed,
)

from harmguard.checkpoint import METADATA_FILE, load_student
from harmguard.checkpoint.precision import has_bf16
from harmguard.checkpoint.quiet import quiet
from harmguard.errors import ConfigError, DataError, TrainingWarning
from harmguard.rows import Row, read_rows
from harmguard.training.distil.batches import Collator, encode_rows
from harmguard.training.distil.checks import FiniteGradients, check_loss, check_weights, warnings_of
from harmguard.training.distil.config import Config
from harmguard.training.distil.frozen import freeze
from harmguard.training.distil.loss import distillation_loss
from harmguard.training.distil.row_order import plan
from harmguard.training.distil.run_folder import (
    COMPLETE_FILE,
    claim,
    last_whole,
    run_record,
    write_student,
    writing,
)
from harmguard.training.models import Model, identity


def distill(config: Config, out: Path, *, checkpoints: Path | None = None) -> Path:
    """Train the student of `config`; returns its folder, `out/student`.

    `checkpoints` (default `out/checkpoints`) holds the resumable states, two at a time. What
    is resumed is known by the hashes of student and data, so that folders may move. Raises
    ConfigError when `out` belongs to another config, student or data, DataError for rows
    without any label, CheckpointError when the student cannot be used, DivergedError where a loss,
    a gradient or a weight is not finite, StageError when a file cannot be written. Warns
    (TrainingWarning) of what will likely go wrong.
    """
    student = out / "student"
    states = checkpoints or out / "checkpoints"
    rows = _rows(config)
    finished = (student / METADATA_FILE).is_file()
    # What a finished student began from may be gone; its hash is in the record then.
    opened = not finished or Path(config.student.path).is_dir()
    known = identity(Model(config.student.path)) if opened else None
    record = run_record(config, rows, known, bf16=_in_bf16(config))
    claim(out / "run.json", record)
    if finished:
        return student
    set_seed(config.optim.seed)
    start = load_student(
        config.student.path, config.student.max_tokens, dropout=config.student.dropout
    )
    freeze(start.model, config.student.frozen_layers)
    windows = encode_rows(rows, start.encoder, config.optim.seed)
    batches = plan(
        rows,
        [len(w.ids) for w in windows],
        epochs=config.optim.epochs,
        batch_rows=config.optim.batch_rows,
        balance=config.data.balance,
        seed=config.optim.seed,
    )
    for warning in warnings_of(config, rows, len(batches)):
        warnings.warn(warning, TrainingWarning, stacklevel=2)
    order = [index for batch in batches for index in batch]
    with quiet():
        trainer = DistillTrainer(
            model=start.model,
            args=_arguments(config, states, len(batches)),
            train_dataset=_Rows(order),
            data_collator=Collator(rows, windows, config, start),
            callbacks=[_SaveByTime(config.save_minutes), FiniteGradients(config)],
            distillation=config,
        )
        trainer.train(resume_from_checkpoint=last_whole(states))
    check_weights(start.model, config)
    if trainer.is_world_process_zero():
        write_student(trainer, start, config, rows, record, student)
    return student


class DistillTrainer(Trainer):
    """Trainer with the distillation loss, divided by the rows of a whole step.

    The plan has full steps only, so the divisor is known. That a `compute_loss_func` is
    set tells the Trainer, in 4.57 and in 5.x, not to divide by the accumulation again.
    """

    def __init__(self, *, distillation: Config, **kwargs: Any) -> None:
        super().__init__(compute_loss_func=distillation_loss, **kwargs)
        self._config = distillation

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The step's share of the distillation loss, a scalar (with `return_outputs` a pair)."""
        inputs = dict(inputs)
        labels, soft, weight = (inputs.pop(k) for k in ("labels", "soft", "weight"))
        outputs = model(**inputs)
        total = distillation_loss(
            outputs.logits,
            labels,
            soft,
            weight,
            lambda_hard=self._config.loss.lambda_hard,
            temperature=self._config.loss.temperature,
        )
        # DDP averages gradients over processes; this keeps the sum over all their rows.
        loss = total * self.accelerator.num_processes / self._config.optim.batch_rows
        # The Trainer would leave a NaN out of its log, and train on.
        check_loss(loss, self.state.global_step + 1, self._config)
        return (loss, outputs) if return_outputs else loss

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        with writing("a checkpoint"):
            cast(Any, super())._save_checkpoint(*args, **kwargs)  # untyped in 4.57

    def _get_train_sampler(self, *args: Any, **kwargs: Any) -> SequentialSampler:
        return SequentialSampler(cast(Sized, self.train_dataset))


class _Rows(Dataset[int]):
    def __init__(self, order: list[int]) -> None:
        self._order = order

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, position: int) -> int:
        return self._order[position]


class _SaveByTime(TrainerCallback):
    """Asks for a checkpoint every `minutes`, and marks it whole once it is written."""

    def __init__(self, minutes: float) -> None:
        self._seconds, self._last = minutes * 60, time.monotonic()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        due = time.monotonic() - self._last >= self._seconds and state.global_step < state.max_steps
        if args.world_size > 1:  # all processes save together or wait for each other forever
            flag = torch.tensor(int(due), device=args.device)
            torch.distributed.broadcast(flag, 0)
            due = bool(flag.item())
        if due:
            control.should_save = True

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self._last = time.monotonic()
        if state.is_world_process_zero:
            folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
            (folder / COMPLETE_FILE).touch()


def _rows(config: Config) -> list[Row]:
    rows = [
        row for path in config.data.train for row in read_rows(Path(path), need=("label", "soft"))
    ]
    kept = [r for r in rows if not config.data.licences or r.licence in config.data.licences]
    if not kept:
        raise DataError(
            f"none of {len(rows)} rows has a licence in {config.data.licences}; expected some"
        )
    if config.loss.hard_from_soft:
        kept = [row if row.soft is None else replace(row, label=None) for row in kept]
    bare = sum(row.hard is None for row in kept)
    if bare:
        raise DataError(f"{bare} of {len(kept)} rows have neither label nor soft; expected one")
    return kept


def devices() -> int:
    """How many devices share a step, each with `optim.device_rows` rows at a time."""
    return max(int(os.environ.get("WORLD_SIZE", "1")), torch.cuda.device_count(), 1)


def _forget_precision() -> None:
    """Let this run have its own: accelerate keeps that of a process's first run for all later."""
    os.environ.pop("ACCELERATE_MIXED_PRECISION", None)
    AcceleratorState._reset_state()


def _in_bf16(config: Config) -> bool:
    return config.optim.precision == "auto" and has_bf16()


def _arguments(config: Config, states: Path, steps: int) -> TrainingArguments:
    optim = config.optim
    bf16 = _in_bf16(config)
    _forget_precision()
    accumulation, rest = divmod(optim.batch_rows, optim.device_rows * devices())
    if rest or not accumulation:
        raise ConfigError(
            f"optim.batch_rows {optim.batch_rows} is not a multiple of optim.device_rows "
            f"{optim.device_rows} times {devices()} devices"
        )
    return TrainingArguments(
        output_dir=str(states),
        max_steps=steps,
        per_device_train_batch_size=optim.device_rows,
        gradient_accumulation_steps=accumulation,
        learning_rate=optim.lr,
        lr_scheduler_type="linear",
        warmup_steps=optim.warmup_steps,
        weight_decay=optim.weight_decay,
        max_grad_norm=optim.clip_norm,
        seed=optim.seed,
        # Without it several processes on CPUs train apart, and bfloat16 on a CPU is refused.
        use_cpu=not torch.cuda.is_available() and (bf16 or "WORLD_SIZE" in os.environ),
        bf16=bf16,
        save_strategy="no",
        save_total_limit=2,
        logging_steps=20,
        report_to=[],
        remove_unused_columns=False,
        dataloader_pin_memory=torch.cuda.is_available(),
    )
