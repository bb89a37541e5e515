"""What the HarmAug pipeline costs: training the student, labelling, generating. Random weights.

    python -m benchmarks cost                  # the real shapes: needs a GPU of 40 GB or more
    python -m benchmarks cost --scaled-down    # small shapes, on whatever is here

Speed and memory do not depend on the weights. Each setting is run once untimed and then timed;
the best one is reported with all of them beside it. docs/cost.md says what the figures mean.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
)

from benchmarks.harness import results as _results
from harmguard.bench.machine import describe
from harmguard.training.distill import has_bf16
from harmguard.training.harmaug.engines.local import LocalModel
from harmguard.training.harmaug.plan import Sampling
from harmguard.training.loss import distillation_loss

OUT = _results.ROOT / "benchmarks" / "results" / "cost.json"
PAIRS, EPOCHS = 297_000, 3  # of the paper
PAIR_TOKENS = 350  # assumed mean length of a training row; hours are proportional to it
SEED = 7

DEBERTA: dict[str, Any] = {
    "model_type": "deberta-v2", "relative_attention": True, "position_buckets": 256,
    "pos_att_type": ["p2c", "c2p"], "share_att_key": True, "norm_rel_ebd": "layer_norm",
    "type_vocab_size": 0, "position_biased_input": False, "max_position_embeddings": 1024,
}  # fmt: skip
SHAPES: dict[bool, dict[str, dict[str, Any]]] = {
    False: {
        "student": {**DEBERTA, "vocab_size": 128_100, "hidden_size": 1024, "num_hidden_layers": 24,
                    "num_attention_heads": 16, "intermediate_size": 4096},
        "teacher": {"model_type": "llama", "vocab_size": 128_256, "hidden_size": 4096,
                    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
                    "intermediate_size": 14_336, "max_position_embeddings": 8192},
        "generator": {"model_type": "gemma", "vocab_size": 256_000, "hidden_size": 2048,
                      "num_hidden_layers": 18, "num_attention_heads": 8, "num_key_value_heads": 1,
                      "head_dim": 256, "intermediate_size": 16_384},
    },
    True: {
        "student": {**DEBERTA, "vocab_size": 1000, "hidden_size": 128, "num_hidden_layers": 2,
                    "num_attention_heads": 4, "intermediate_size": 512},
        "teacher": {"model_type": "llama", "vocab_size": 1000, "hidden_size": 256,
                    "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
                    "intermediate_size": 512, "max_position_embeddings": 1024},
        "generator": {"model_type": "gemma", "vocab_size": 1000, "hidden_size": 128,
                      "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 1,
                      "head_dim": 32, "intermediate_size": 512},
    },
}  # fmt: skip
# scaled down? -> rows per device, and tokens of a row
STUDENT_ROWS = {False: (8, 16, 32), True: (2, 4)}
STUDENT_TOKENS = {False: (256, 512, 1024), True: (64, 128)}
TEACHER_ROWS = {False: (8, 32, 128), True: (4, 8)}
TEACHER_TOKENS = {False: 512, True: 64}  # about 210 of the template and a pair of 300
GENERATOR_ROWS = {False: (64, 256, 512), True: (4, 8)}
GENERATOR_TOKENS = {False: (256, 32), True: (32, 8)}  # of the prompt, and generated


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure all three, write the JSON, print a line for each."""
    parser = argparse.ArgumentParser(prog="benchmarks.training.cost", description=__doc__)
    parser.add_argument("--scaled-down", action="store_true", help="small shapes, for any machine")
    parser.add_argument("--out", type=Path, default=OUT, help="(default: benchmarks/results)")
    options = parser.parse_args(arguments)
    small: bool = options.scaled_down
    torch.manual_seed(SEED)
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    result: dict[str, Any] = {"machine": describe(), "gpu": gpu, "scaled_down": small}
    result["bf16"] = has_bf16()
    for part, measure in (("teacher", _teacher), ("student", _student), ("generator", _generator)):
        result[part] = measure(small)
        _results.write_json(options.out, result)  # a cut run keeps what it has
    best = max(result["student"], key=lambda one: float(one["tokens_per_s"]))
    hours = PAIRS * EPOCHS * PAIR_TOKENS / best["tokens_per_s"] / 3600
    result["training_hours"] = {
        "pairs": PAIRS, "epochs": EPOCHS, "mean_tokens": PAIR_TOKENS, "hours": hours,
    }  # fmt: skip
    _results.write_json(options.out, result)
    for name in ("student", "teacher", "generator"):
        top = max(result[name], key=lambda one: float(one["rate"]))
        print(f"{name}: {top}")
    if small:
        print("scaled down: the hours of the paper's run follow from a full run only")
    else:
        print(f"3 epochs over {PAIRS:,} pairs of {PAIR_TOKENS} tokens: {hours:.1f} h")
    return 0


def _student(small: bool) -> list[dict[str, Any]]:
    """Forward, loss, backward and AdamW step of the student, per length and rows."""
    with torch.device(_device()):
        model = AutoModelForSequenceClassification.from_config(_config("student", small))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-5, weight_decay=0.1)
    soft = torch.tensor([0.1, 0.9], device=_device())
    found = []
    for tokens in STUDENT_TOKENS[small]:
        for rows in STUDENT_ROWS[small]:
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

            timed = _timed(step, {"rows": rows, "tokens": tokens})
            if timed is not None:
                rate = rows * tokens / timed["seconds"]
                found.append({**timed, "tokens_per_s": rate, "rate": rate})
    return found


def _teacher(small: bool) -> list[dict[str, Any]]:
    """Verdicts per second."""
    model, tokens = _causal("teacher", small), TEACHER_TOKENS[small]
    found = []
    for rows in TEACHER_ROWS[small]:
        prompts = torch.randint(5, 900, (rows, tokens)).tolist()

        def step(prompts: list[list[int]] = prompts) -> None:
            model.verdicts(prompts, (7, 8))

        timed = _timed(step, {"rows": rows})
        if timed is not None:
            found.append({**timed, "tokens": tokens, "rate": rows / timed["seconds"]})
    return found


def _generator(small: bool) -> list[dict[str, Any]]:
    """Generated tokens per second, with the engine's sampling."""
    model, (tokens, new) = _causal("generator", small), GENERATOR_TOKENS[small]
    found = []
    for rows in GENERATOR_ROWS[small]:
        prompts = torch.randint(5, 900, (rows, tokens)).tolist()
        sampling = Sampling(max_new_tokens=new)

        def step(prompts: list[list[int]] = prompts, sampling: Sampling = sampling) -> None:
            model.generate(prompts, range(len(prompts)), sampling)

        timed = _timed(step, {"rows": rows})
        if timed is not None:
            rate = rows * new / timed["seconds"]
            found.append({**timed, "prompt_tokens": tokens, "new_tokens": new, "rate": rate})
    return found


class _NoWords:
    """Stands for a tokenizer where only ids matter."""

    eos_token_id, pad_token_id = 1, 0

    def batch_decode(self, ids: torch.Tensor, skip_special_tokens: bool) -> list[str]:
        return [""] * len(ids)


def _causal(name: str, small: bool) -> LocalModel:
    gc.collect()
    torch.cuda.empty_cache()
    kind = torch.bfloat16 if _device() == "cuda" else torch.float32
    with torch.device(_device()):
        model = AutoModelForCausalLM.from_config(_config(name, small), dtype=kind)
    return LocalModel(_NoWords(), model)


def _config(name: str, small: bool) -> Any:
    shape = dict(SHAPES[small][name])
    return AutoConfig.for_model(shape.pop("model_type"), **shape)


def _timed(step: Callable[[], object], setting: dict[str, int]) -> dict[str, Any] | None:
    """Median seconds of three runs after one untimed, and peak memory; None when out of memory."""
    cuda = _device() == "cuda"
    _results.say(f"{setting} ...")
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
    return {**setting, "seconds": sorted(seconds[1:])[1], "peak_mb": peak}


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


if __name__ == "__main__":
    raise SystemExit(_results.guarded(main))
