"""The training set and the starting student of the multilingual guard.

    harmguard train multilingual DATA OUT --teacher guards/base

DATA is the folder that docs/data.md describes. OUT gets train.jsonl, English rows that the base
guard labels by label.toml; made.jsonl and other.jsonl, the made ones and those of other languages,
which keep their labels, because the teacher reads English only; student/, multilingual-e5-small
with its vocabulary cut, and distill.toml. Rows whose licence is not permissive are left out.
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from harmguard.core.files import refuse_existing
from harmguard.rows import Row
from harmguard.training.corpora import corpus, e5
from harmguard.training.corpora.labelled import Made, labelled_rows

SEED = 14
MADE = Made(
    refused=500, short_refusals=500, short_answers=150, long_prompts=250, long_exchanges=150,
    in_json=200, in_code=200, asked=300, misspelt=300, surrounded=200,
)  # fmt: skip
# Rows of one label and language that a source may give: comments are not requests, and a single
# source must not stand for a language.
CAPS: Mapping[str, int] = {
    "cold_zh": 500, "kosbi_ko": 150, "mhc": 200, "plexpt_questions_zh": 1500,
    "ailuminate_demo_fr": 500, "jade_prompts_zh": 1200, "service_public_fr": 600,
}  # fmt: skip
COARSE = ("cold_zh", "kosbi_ko", "ailuminate_demo_fr")  # tier C, weight .4
BENIGN_SHARE = 1.5  # benign prompts of a language for each harmful one
ENGLISH = 2_500  # public English rows of each kind and label: as many as there are of the others
LIMITS = (
    "German, Spanish, Hindi, Dutch, Polish and Portuguese have harmful rows of one kind: sentences "
    "of hate (mhc). Bengali, Javanese, Swahili and Thai have translations of one set of requests "
    "(multijail_xx). Answers were seen in English, Chinese, French and Spanish alone, harmful ones "
    "in English and Chinese. Other languages were never seen: a score there rests on what the "
    "pretrained model knows of them."
)
MOST_FREQUENT = 20_000  # pieces kept beside those of the rows; so int8 stays below 60 MB


def other_rows(data: Path) -> list[Row]:
    """The permissive rows of other languages, benign prompts in proportion to harmful ones."""
    rng = random.Random(SEED)
    taken: Counter[tuple[str, str, int | None]] = Counter()
    rows = []
    for row in corpus.capped(corpus.permissive_rows(data, ("multilingual_train",), rng), {}):
        key = (row.source, row.lang, row.label)
        if taken[key] < CAPS.get(row.source, sys.maxsize):
            taken[key] += 1
            rows.append(replace(row, tier="C") if row.source in COARSE else row)
    harmful = Counter(r.lang for r in rows if r.kind == "prompt" and r.label == 1)
    benign: Counter[str] = Counter()
    kept = []
    for row in rows:
        if row.kind == "prompt" and row.label == 0:
            benign[row.lang] += 1
            if benign[row.lang] > BENIGN_SHARE * harmful[row.lang]:
                continue
        kept.append(row)
    return kept


def build_rows(data: Path) -> tuple[list[Row], list[Row], list[Row]]:
    """English rows for the teacher, made ones, and those of other languages."""
    public, made = labelled_rows(data, SEED, MADE)
    taken: Counter[tuple[str, int | None]] = Counter()
    english = []
    for row in public:  # in random order
        taken[row.kind, row.label] += 1
        if taken[row.kind, row.label] <= ENGLISH:
            english.append(row)
    return english, made, other_rows(data)


def student(rows: list[Row]) -> dict[str, bytes]:
    """The files of the starting student: the pieces of `rows` and the most frequent ones."""
    texts = (text for row in rows for text in (row.prompt, row.response) if text)
    return e5.files(e5.cut(e5.read(e5.packaged_file()), texts, MOST_FREQUENT))


DISTILL_TOML = corpus.distill_toml(
    "multilingual", "multilingual-e5-small", owner="intfloat", licence="MIT", lr="1e-4", epochs=1,
    warmup_steps=100, frozen_layers=4, limits=LIMITS,
    rows=("../label/rows.jsonl", "made.jsonl", "other.jsonl"),
)  # fmt: skip


def write(data: Path, out: Path, teacher: Path) -> int:
    """Write OUT (see the module); returns the number of rows. OUT must not exist."""
    refuse_existing(out)
    public, made, other = build_rows(data)
    files = student([*public, *made, *other])
    return corpus.write_folder(
        out,
        {"train": public, "made": made, "other": other},
        {"label": corpus.label_toml("multilingual", teacher), "distill": DISTILL_TOML},
        lambda name: files[name],
    )
