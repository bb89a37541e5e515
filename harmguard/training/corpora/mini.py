"""The training set of the mini guard, which goes on from the shipped one and learns from base.

    harmguard train mini DATA OUT --teacher guards/base --start CHECKPOINT

DATA is the folder that docs/data.md describes; OUT gets train.jsonl and unlabelled.jsonl, which
the teacher labels by label.toml, made.jsonl, whose labels are known because it was made for them,
student/, the checkpoint to go on from, and distill.toml. Rows whose licence is not permissive are
left out, so that anyone may embed the guard.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from harmguard.core.files import refuse_existing
from harmguard.errors import CheckpointError
from harmguard.rows import Row, read_rows
from harmguard.training.corpora import corpus
from harmguard.training.corpora.labelled import Made, labelled_rows

SEED = 13  # not base's, so that the teacher has not seen every made row
MADE = Made(
    refused=500, short_refusals=900, short_answers=250, long_prompts=400, long_exchanges=150,
    in_json=500, in_code=500, asked=500, misspelt=1500, surrounded=500,
)  # fmt: skip
# Pairs without a label whose publishers license them permissively (docs/data.md).
UNLABELLED = {
    "unlabelled": ("hh_harmless_test",),
    "unlabelled_more": ("aisafetylab_demo", "fuzzyai_llama2_uncensored"),
}


def build_rows(data: Path) -> tuple[list[Row], list[Row]]:
    """The permissive rows, and those made from them (docs/data.md)."""
    return labelled_rows(data, SEED, MADE)


def unlabelled_rows(data: Path) -> list[Row]:
    """The pairs of DATA that the teacher alone labels."""
    return [
        replace(row, id=f"{row.id}/unlabelled", licence="permissive")  # labelled ones share ids
        for name, sources in UNLABELLED.items()
        for row in read_rows(data / f"{name}.jsonl.gz")
        if row.source in sources
    ]


DISTILL_TOML = corpus.distill_toml(
    "mini", "all-MiniLM-L6-v2", version="0.2.0", lr="6e-5", epochs=1, warmup_steps=100,
    rows=("../label/rows.jsonl", "made.jsonl"),
)  # fmt: skip


def write(data: Path, out: Path, start: Path, teacher: Path) -> int:
    """Write OUT (see the module); returns the number of rows. OUT must not exist.

    Raises DataError for DATA, CheckpointError for a `start` that lacks a file.
    """
    refuse_existing(out)
    lacking = [name for name in corpus.BACKBONE_FILES if not (start / name).is_file()]
    if lacking:
        raise CheckpointError(
            f"{start.name} has no {lacking[0]}; expected the checkpoint to start from; likely a "
            "wrong path"
        )
    public, made = build_rows(data)
    return corpus.write_folder(
        out,
        {"train": public, "unlabelled": unlabelled_rows(data), "made": made},
        {"label": corpus.label_toml("mini", teacher), "distill": DISTILL_TOML},
        lambda name: (start / name).read_bytes(),
    )
