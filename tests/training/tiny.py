"""Tiny real students and rows, made on the spot."""

from __future__ import annotations

import json
import random
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DebertaV2Config,
    DebertaV2ForSequenceClassification,
    PreTrainedTokenizerFast,
)

from harmguard.training.distil.config import Config, Data, Optim, Student

SAFE = "how do i bake bread with fresh milk and some honey please".split()
HARM = "you are a rude silly fool and nobody likes your ugly hat".split()
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def tokenizer() -> PreTrainedTokenizerFast:
    """A WordPiece tokenizer of the words above, with the BERT template."""
    # Not trained: the trainer orders equal counts differently in every process.
    letters = sorted(set("".join([*SAFE, *HARM])))
    pieces = [*SPECIALS, *letters, *(f"##{letter}" for letter in letters), *SAFE, *HARM]
    vocabulary = {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]",
        sep_token="[SEP]", mask_token="[MASK]", model_max_length=64,
    )  # fmt: skip


def student(folder: Path, family: str, fast: PreTrainedTokenizerFast | None = None) -> Path:
    """A random 2-layer model of `family` ("bert" or "deberta") with its tokenizer."""
    torch.manual_seed(5)
    fast = fast or tokenizer()
    sizes = {
        "vocab_size": len(fast), "hidden_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 2, "intermediate_size": 48, "max_position_embeddings": 64,
        "id2label": {0: "safe", 1: "harmful"}, "pad_token_id": 0, "initializer_range": 0.2,
    }  # fmt: skip
    if family == "bert":
        model: torch.nn.Module = BertForSequenceClassification(BertConfig(**sizes))
    else:
        extra = {
            "relative_attention": True, "position_buckets": 8, "pos_att_type": ["p2c", "c2p"],
            "share_att_key": True, "norm_rel_ebd": "layer_norm", "type_vocab_size": 0,
            "position_biased_input": False,
        }  # fmt: skip
        model = DebertaV2ForSequenceClassification(DebertaV2Config(**sizes, **extra))
    model.save_pretrained(str(folder))  # type: ignore[operator]
    fast.save_pretrained(str(folder))
    return folder


def row_file(path: Path, count: int, *, soft: bool = True) -> Path:
    """`count` rows, half of them rude, prompts and exchanges, some with a soft label."""
    rng = random.Random(3)
    lines = []
    for i in range(count):
        harmful = i % 2
        words = HARM if harmful else SAFE
        value: dict[str, object] = {
            "id": str(i),
            "prompt": " ".join(rng.choices(words, k=rng.randint(2, 12))),
            "label": harmful,
            "tier": "ABC"[i % 3],
            "task": "response" if i % 4 > 1 else "prompt",
        }
        if i % 4 > 1:
            value["response"] = " ".join(rng.choices(words, k=rng.randint(1, 9)))
        if soft and i % 5 == 0:
            value["soft"] = 0.8 if harmful else 0.1
        lines.append(json.dumps(value))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def distillation(folder: Path, family: str, *, rows: int = 64, **optim: float) -> Config:
    """A run of one such student on `row_file`, without dropout."""
    start = folder / f"student-{family}"
    if not start.exists():
        student(start, family)
    path = row_file(folder / f"rows{rows}.jsonl", rows)
    settings = {"lr": 1e-2, "epochs": 1, "batch_rows": 32, "device_rows": 32, "warmup_steps": 0}
    return Config(
        Student(str(start), max_tokens=64, dropout=0.0),
        Data([str(path)]),
        optim=Optim(precision="fp32", **{**settings, **optim}),  # type: ignore[arg-type]
    )


def config_file(folder: Path, *, epochs: int = 20, save_minutes: float = 0.0) -> Path:
    """The TOML file of a run with dropout, by default of 40 steps and a checkpoint after each."""
    student(folder / "student", "bert")
    row_file(folder / "rows.jsonl", 64)
    path = folder / "distill.toml"
    path.write_text(
        f'save_minutes = {save_minutes}\n[student]\npath = "student"\nmax_tokens = 64\n'
        'dropout = 0.2\n[data]\ntrain = ["rows.jsonl"]\n[optim]\nlr = 1e-3\n'
        f'epochs = {epochs}\nbatch_rows = 32\nprecision = "fp32"\n'
        f"device_rows = 16\nwarmup_steps = {min(5, epochs)}\n",
        encoding="utf-8",
    )
    return path
