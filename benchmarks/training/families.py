"""Which families of models can be trained, evaluated and exported: a table, on tiny random models.

    python -m benchmarks families WORK [FAMILY ...]

Each family's smallest random classifier is trained for forty steps by `harmguard train distill`,
the student scored by `harmguard eval` and exported by `harmguard export` in fp32 and int8, the
gate on the rows that it was trained on. A cell is "yes", or the error's name and reason.
docs/checkpoints.md has the table.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import random
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedTokenizerFast

from benchmarks.harness.command import Script
from benchmarks.harness.results import INPUTS, read_json
from harmguard import cli
from harmguard.checkpoint.quiet import quiet

HEAD = "| family | train | eval | export, fp32 | export, int8 |\n|---|---|---|---|---|"
STEPS = ("train", "eval", "fp32", "int8")
POSITIONS, MAX_TOKENS = 130, 64
WORDS = ("how do i bake bread with fresh milk and honey please you are a rude silly fool and "
         "nobody likes your ugly hat").split()  # fmt: skip
SIZES: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
    "max_position_embeddings": POSITIONS, "pad_token_id": 0,
    "bos_token_id": 2, "cls_token_id": 2, "eos_token_id": 3, "sep_token_id": 3,
    "id2label": {0: "safe", 1: "harmful"}, "label2id": {"safe": 0, "harmful": 1},
}  # fmt: skip


@dataclass(frozen=True)
class Family:
    """A name of the table, transformers' model_type, and what its config has beside SIZES."""

    name: str
    kind: str
    more: dict[str, Any]


FAMILIES = [Family(*fields) for fields in read_json(INPUTS / "families.json")]


def arguments(parser: argparse.ArgumentParser) -> None:
    """WORK and families."""
    parser.add_argument("work", type=Path)
    parser.add_argument("families", nargs="*", metavar="FAMILY", help="names of the table")


def run(options: argparse.Namespace) -> int:
    """Print the table of all families, or of those named."""
    chosen = [f for f in FAMILIES if not options.families or f.name in options.families]
    print(HEAD)
    for family in chosen:
        cells = outcomes(family, options.work / family.name.replace(" ", "-"))
        print(line(family, cells), flush=True)
    return 0


def line(family: Family, cells: Sequence[str]) -> str:
    """The family's line of the table."""
    return f"| {family.name} | {' | '.join(cells)} |"


def outcomes(family: Family, folder: Path) -> list[str]:
    """What each of STEPS says of the family; what follows a refusal is not tried."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    make(family, folder / "start")
    write_rows(folder / "rows.jsonl", 64)
    (folder / "distill.toml").write_text(
        f'[student]\npath = "start"\nmax_tokens = {MAX_TOKENS}\n[data]\ntrain = ["rows.jsonl"]\n'
        '[optim]\nlr = 2e-3\nepochs = 40\nbatch_rows = 64\nwarmup_steps = 0\nprecision = "fp32"\n',
        encoding="utf-8",
    )
    student = folder / "run" / "student"
    export = ["export", str(student), "--pairs", str(folder / "rows.jsonl")]
    commands = {
        "train": ["train", "distill", str(folder / "distill.toml"), "--out", str(folder / "run")],
        "eval": ["eval", str(student), str(folder / "rows.jsonl")],
        "fp32": [*export, str(folder / "fp32"), "--recipe", "fp32"],
        "int8": [*export, str(folder / "int8")],
    }
    cells: list[str] = []
    for step in STEPS:
        cells.append("-" if "train" in _failed(cells) else _run(commands[step]))
    return cells


def _failed(cells: Sequence[str]) -> list[str]:
    return [step for step, cell in zip(STEPS, cells, strict=False) if cell != "yes"]


def _run(command: list[str]) -> str:
    """Run one command of harmguard: "yes", or its error without what follows the first clause."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main(command)
    if code == 0:
        return "yes"
    lines = [line for line in err.getvalue().splitlines() if line.startswith("harmguard: ")]
    name, _, reason = lines[-1].removeprefix("harmguard: ").partition(": ")
    return f"{name}: {reason.partition('; ')[0].replace('|', '/')}"


def make(family: Family, folder: Path) -> None:
    """A random classifier of the family, with a WordPiece tokenizer of a few words."""
    torch.manual_seed(3)
    fast = tokenizer(int(family.more.get("pad_token_id", 0)))
    fields = {**SIZES, "vocab_size": len(fast), **family.more}
    fields = {name: value for name, value in fields.items() if value is not None}
    with quiet():
        config = AutoConfig.for_model(family.kind, **fields)
        model = AutoModelForSequenceClassification.from_config(config)
        model.save_pretrained(str(folder))
        fast.save_pretrained(str(folder))


def tokenizer(pad_id: int) -> PreTrainedTokenizerFast:
    """WordPiece with the template of BERT; `pad_id` is 0 or 1."""
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    if pad_id == 1:
        specials[:2] = ["[UNK]", "[PAD]"]
    letters = sorted(set("".join(WORDS)))
    pieces = dict.fromkeys([*specials, *letters, *(f"##{c}" for c in letters), *WORDS])
    backend = Tokenizer(models.WordPiece({p: i for i, p in enumerate(pieces)}, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]",
        sep_token="[SEP]", mask_token="[MASK]", model_max_length=POSITIONS,
    )  # fmt: skip


def write_rows(path: Path, count: int) -> None:
    """Rows of both labels and both kinds of input."""
    path.write_text("".join(json.dumps(row) + "\n" for row in _rows(count)), encoding="utf-8")


def _rows(count: int) -> Iterator[dict[str, Any]]:
    order, half = random.Random(3), len(WORDS) // 2
    for i in range(count):
        words = WORDS[half:] if i % 2 else WORDS[:half]
        texts = [" ".join(order.choices(words, k=order.randint(2, 12))) for _ in range(2)]
        yield {"prompt": texts[0], "response": texts[1] if i % 4 > 1 else None, "label": i % 2}


COMMAND = Script(__name__, arguments, run)
