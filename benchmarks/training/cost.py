"""What the HarmAug pipeline costs: training the student, labelling, generating. Random weights.

    python -m benchmarks cost                  # the real shapes: needs a GPU of 40 GB or more
    python -m benchmarks cost --scaled-down    # small shapes, on whatever is here

Speed and memory do not depend on the weights. Each setting is run once untimed and then timed;
the best one is reported with all of them beside it. docs/cost.md says what the figures mean.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypedDict, cast

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
)

from benchmarks.harness.command import Benchmark
from benchmarks.harness.results import INPUTS, Run, read_json, say
from harmguard.checkpoint.precision import has_bf16
from harmguard.training.distil.loss import distillation_loss
from harmguard.training.harmaug.engines.local import LocalModel
from harmguard.training.harmaug.plan import Sampling

PAIRS, EPOCHS = 297_000, 3  # of the paper
PAIR_TOKENS = 350  # assumed mean length of a training row; hours are proportional to it
SEED = 7

SHAPES = read_json(INPUTS / "shapes.json")
SCALED_DOWN = ", scaled down"
# scaled down? -> rows per device, and tokens of a row
STUDENT_ROWS = {False: (8, 16, 32), True: (2, 4)}
STUDENT_TOKENS = {False: (256, 512, 1024), True: (64, 128)}
TEACHER_ROWS = {False: (8, 32, 128), True: (4, 8)}
TEACHER_TOKENS = {False: 512, True: 64}  # about 210 of the template and a pair of 300
GENERATOR_ROWS = {False: (64, 256, 512), True: (4, 8)}
GENERATOR_TOKENS = {False: (256, 32), True: (32, 8)}  # of the prompt, and generated


class Setting(TypedDict):
    """One setting: median seconds, peak memory, and what it does in a second."""

    rows: int
    tokens: int
    new_tokens: int
    seconds: float
    peak_mb: float | None
    rate: float


class Hours(TypedDict):
    """What the paper's training would take."""

    pairs: int
    epochs: int
    mean_tokens: int
    hours: float


class Costs(TypedDict):
    """The raw result."""

    gpu: str | None
    scaled_down: bool
    bf16: bool
    teacher: list[Setting]
    student: list[Setting]
    generator: list[Setting]
    training_hours: Hours


def arguments(parser: argparse.ArgumentParser) -> None:
    """--scaled-down."""
    parser.add_argument("--scaled-down", action="store_true", help="small shapes, for any machine")


def measure(run: Run) -> Costs:
    """Measure all three; a cut run keeps what it has."""
    small: bool = run.options.scaled_down
    torch.manual_seed(SEED)
    head = {
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "scaled_down": small,
        "bf16": has_bf16(),
    }
    parts: dict[str, list[Setting]] = {}
    for part, steps in (("teacher", _teacher), ("student", _student), ("generator", _generator)):
        timed = (_timed(*step) for step in steps(small))
        parts[part] = [one for one in timed if one is not None]
        run.keep({**head, **parts})
    best = max(one["rate"] for one in parts["student"])
    hours = PAIRS * EPOCHS * PAIR_TOKENS / best / 3600
    of_paper = Hours(pairs=PAIRS, epochs=EPOCHS, mean_tokens=PAIR_TOKENS, hours=hours)
    return cast(Costs, {**head, **parts, "training_hours": of_paper})


def fastest(result: Costs) -> str:
    """A line for each part, and the hours."""
    parts = {"student": result["student"], "teacher": result["teacher"]}
    parts["generator"] = result["generator"]
    lines = [f"{part}: {max(own, key=lambda one: one['rate'])}" for part, own in parts.items()]
    hours = f"3 epochs over {PAIRS:,} pairs of {PAIR_TOKENS} tokens: "
    hours += f"{result['training_hours']['hours']:.1f} h"
    if result["scaled_down"]:
        hours = "scaled down: the hours of the paper's run follow from a full run only"
    return "\n".join([*lines, hours])


Step = tuple[int, int, int, int, Callable[[], object]]
"""Rows, tokens of each, tokens generated for each, what is counted of all, and the work."""


def _student(small: bool) -> Iterator[Step]:
    """Forward, loss, backward and AdamW step; tokens are counted."""
    with torch.device(_device()):
        model = AutoModelForSequenceClassification.from_config(_config("student", small))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-5, weight_decay=0.1)
    soft = torch.tensor([0.1, 0.9], device=_device())
    for tokens, rows in itertools.product(STUDENT_TOKENS[small], STUDENT_ROWS[small]):
        ids = torch.randint(5, model.config.vocab_size, (rows, tokens), device=_device())
        teacher = soft.repeat(rows)[:rows]

        def step(ids: torch.Tensor = ids, teacher: torch.Tensor = teacher) -> None:
            with torch.autocast(_device(), torch.bfloat16, enabled=has_bf16()):
                logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
            labels = (teacher > 0.5).long()
            loss = distillation_loss(logits, labels, teacher, torch.ones_like(teacher))
            (loss / len(ids)).backward()
            optimizer.step()
            optimizer.zero_grad()

        yield rows, tokens, 0, rows * tokens, step


def _teacher(small: bool) -> Iterator[Step]:
    """Verdicts."""
    model, tokens = _causal("teacher", small), TEACHER_TOKENS[small]
    for rows in TEACHER_ROWS[small]:
        prompts = torch.randint(5, 900, (rows, tokens)).tolist()
        yield rows, tokens, 0, rows, partial(model.verdicts, prompts, (7, 8))


def _generator(small: bool) -> Iterator[Step]:
    """Generated tokens, with the engine's sampling."""
    model, (tokens, new) = _causal("generator", small), GENERATOR_TOKENS[small]
    for rows in GENERATOR_ROWS[small]:
        prompts = torch.randint(5, 900, (rows, tokens)).tolist()
        step = partial(model.generate, prompts, range(rows), Sampling(max_new_tokens=new))
        yield rows, tokens, new, rows * new, step


class _NoWords:
    """Stands for a tokenizer where only ids matter."""

    eos_token_id, pad_token_id = 1, 0

    def decode(self, ids: list[int], skip_special_tokens: bool) -> str:
        return ""


def _causal(name: str, small: bool) -> LocalModel:
    gc.collect()
    torch.cuda.empty_cache()
    kind = torch.bfloat16 if _device() == "cuda" else torch.float32
    with torch.device(_device()):
        model = AutoModelForCausalLM.from_config(_config(name, small), dtype=kind)
    return LocalModel(_NoWords(), model)


def _config(name: str, small: bool) -> Any:
    shape = (SHAPES["deberta"] if name == "student" else {}) | SHAPES[name + SCALED_DOWN * small]
    return AutoConfig.for_model(shape.pop("model_type"), **shape)


def _timed(
    rows: int, tokens: int, new: int, counted: int, step: Callable[[], object]
) -> Setting | None:
    """Median seconds of three runs after one untimed, and peak memory; None when out of memory."""
    cuda = _device() == "cuda"
    say(f"{rows} rows of {tokens} tokens ...")
    try:
        if cuda:
            torch.cuda.reset_peak_memory_stats()
        seconds = []
        for _ in range(4):
            started = time.perf_counter()
            step()
            if cuda:
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - started)
    except torch.cuda.OutOfMemoryError:
        torch.cuda.empty_cache()
        return None
    peak = torch.cuda.max_memory_allocated() / 2**20 if cuda else None
    median = sorted(seconds[1:])[1]
    return {"rows": rows, "tokens": tokens, "new_tokens": new, "seconds": median,
            "peak_mb": peak, "rate": counted / median}  # fmt: skip


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _named(options: argparse.Namespace) -> str:
    return "cost-scaled-down" if options.scaled_down else "cost"


COMMAND = Benchmark(__name__, arguments, measure, fastest, quick=False, result=_named)
