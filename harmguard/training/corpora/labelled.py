"""The labelled rows that the shipped guards learn from: public ones, and those made from them."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from harmguard.rows import Row
from harmguard.training.corpora import corpus, made
from harmguard.training.corpora.contrast import contrast_rows

FILES = ("train", "extra_benign", "benign_prompts", "more_train", "more_pairs", "more_prompts")

# Rows of one label that a source may give. Comments of social media are not requests, and
# templates or a single style teach a shortcut: both are held to a few hundred.
COMMENTS = dict.fromkeys(
    ("edos", "gab_hate", "goemotions", "guest_misogyny", "hatemoji_build", "measuring_hate",
     "toxigen_human"),
    250,
)  # fmt: skip
CAPS: Mapping[str, int] = {
    **COMMENTS, "paradetox": 350, "toxic_spans": 350, "davidson_hate": 350, "convabuse": 250,
    "hatemoji_check": 0,  # akin to hatecheck, which is in val
    "mlc_v05": 300, "overt": 350, "or_bench": 700, "prosocial_dialog": 350, "bbq_context": 120,
    "threat_intel_questions": 120, "nibbler": 200, "cse_mitre_frr": 350, "fuzzyai_benign": 400,
    "gpteacher_code": 700, "gpteacher_roleplay": 700, "medsafety_pairs": 700, "gptfuzz_train": 1000,
    "latent_jailbreak": 150, "adaptive_attacks": 120, "past_tense": 150, "diasafety_train": 900,
    "prompts_chat": 500, "arena_hard": 700, "expertqa": 800, "coconot_contrast": 1000,
    "ifsj_mistral": 200, "refusalbench_bio": 100, "purseclab_pair_logs": 200,
    "forbidden_science": 100,
    "aart": 350, "sgbench_prompts": 500, "harmfulqa": 450, "trustllm_misuse": 450,
}  # fmt: skip
LOW_TIER = ("paradetox", "toxic_spans")  # coarse labels of comments: tier C, weight .4


@dataclass(frozen=True)
class Made:
    """How many rows are made of each sort: of each label where a sort has both (docs/data.md)."""

    refused: int
    short_refusals: int
    short_answers: int
    long_prompts: int
    long_exchanges: int
    in_json: int
    in_code: int
    asked: int
    misspelt: int
    surrounded: int


def labelled_rows(data: Path, seed: int, counts: Made) -> tuple[list[Row], list[Row]]:
    """The permissive rows of DATA's FILES under CAPS; contrast rows and `counts` made of those.

    The same for the same seed. Raises DataError for a folder that lacks one of the files.
    """
    rng = random.Random(seed)
    read = corpus.permissive_rows(data, FILES, rng)
    rows = [
        replace(row, tier="C") if row.source in LOW_TIER else row
        for row in corpus.capped(read, CAPS, by_label=True)
    ]
    rows = [corpus.shortened(row, rng) for row in rows]
    contrast = contrast_rows(seed, corpus.held_out_prompts(data))
    extra = [
        *corpus.pair_prompts(rows, corpus.BENIGN_PAIR_SOURCES, 0, 500),
        *corpus.pair_prompts(rows, corpus.HARMFUL_PAIR_SOURCES, 1, 300),
        *corpus.refused(rows, rng, counts.refused),
        *made.answered_shortly(rows, counts.short_refusals, counts.short_answers, rng),
        *corpus.long_rows(rows, rng, prompts=counts.long_prompts, exchanges=counts.long_exchanges),
        *_surrounded(rows, counts.surrounded, rng),
    ]
    for name, write, count in (
        ("json", made.in_json, counts.in_json),
        ("code", made.in_code, counts.in_code),
        ("asked", made.asked, counts.asked),
        ("misspelt", made.misspelt, counts.misspelt),
    ):
        extra += made.rewritten(rows, name, write, count, rng)
    return rows, contrast + extra


def _surrounded(rows: list[Row], count: int, rng: random.Random) -> list[Row]:
    """Short prompts of both labels among 50 to 300 benign words, which change no label."""
    benign = [r.prompt for r in rows if r.kind == "prompt" and r.label == 0]

    def write(text: str, rng: random.Random) -> str:
        return corpus.hay(benign, text, rng.uniform(300, 1500), rng)

    return made.rewritten(rows, "surrounded", write, count, rng)
