"""A training run's folder: its record, its whole checkpoints, its finished student."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from transformers import Trainer

from harmguard.checkpoint import METADATA_FILE, Checkpoint
from harmguard.checkpoint.quiet import quiet
from harmguard.checkpoint.tokenizer import write_tokenizer
from harmguard.core.files import new_folder, sha256_of, write_file
from harmguard.core.readable import scripts_of
from harmguard.errors import ConfigError, StageError
from harmguard.rows import Row
from harmguard.training.distil.config import Config

LANGUAGE_ROWS = 100  # from which a guard was trained on a language
COMPLETE_FILE = "complete"  # written last into a checkpoint: without it the save was cut short


def run_record(
    config: Config, rows: Sequence[Row], student: dict[str, Any] | None, *, bf16: bool
) -> dict[str, Any]:
    """What a run is made from: `student` is the identity of its files, None where not known."""
    return {
        "config": config.to_json(),
        "student": student,
        "data_sha256": [sha256_of(Path(path)) for path in config.data.train],
        "rows": len(rows),
        "bf16": bf16,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def claim(path: Path, record: dict[str, Any]) -> None:
    """Write the run's record, or check that a run under way here is the same one."""
    if path.is_file():
        found = json.loads(path.read_text(encoding="utf-8"))
        refuse_other(path.parent.name, _compared(found), _compared(record))
        return
    with writing(path.parent.name):
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_json(path, record)


def refuse_other(name: str, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Raise ConfigError, with the key, where the run in a folder differs from the one wanted."""
    for key, value in wanted.items():
        if value is not None and found.get(key) != value:
            where, there, here = _difference(key, found.get(key), value)
            values = f" ({there!a:.60} there, {here!a:.60} here)" if where != key else ""
            raise ConfigError(
                f"{name} holds a run with another {key}{where.removeprefix(key)}{values}; "
                "expected the same, to resume it, or a new --out"
            )


def _difference(key: str, found: Any, wanted: Any) -> tuple[str, Any, Any]:
    """The first key below `key` with other values, and both."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        for name in [*wanted, *found]:
            if found.get(name) != wanted.get(name):
                return _difference(f"{key}.{name}", found.get(name), wanted.get(name))
    return key, found, wanted


def _compared(record: dict[str, Any]) -> dict[str, Any]:
    """What makes two runs the same: student and data by their hashes, not by where they lie."""
    config = record["config"]
    settings = {
        **config,
        "student": {**config["student"], "path": None},
        "data": {**config["data"], "train": None, "held_out": None},
    }
    return {
        "config": settings,
        "student": record.get("student"),
        "data_sha256": record["data_sha256"],
    }


# Of the device, not of the disk; older torch has only the first.
_DEVICE_ERRORS = (
    torch.cuda.OutOfMemoryError,
    getattr(torch, "AcceleratorError", torch.cuda.OutOfMemoryError),
)


@contextmanager
def writing(what: str) -> Iterator[None]:
    """Raise StageError where `what` cannot be written: each library has an error of its own."""
    try:
        yield
    except _DEVICE_ERRORS:
        raise
    # torch.save says RuntimeError; little but writes stands in these blocks.
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise StageError(
            f"{what} cannot be written ({reason.partition(chr(10))[0]}); expected room and a "
            "folder of one's own; likely the disk or the quota is full; the same command goes on "
            "from the last whole checkpoint"
        ) from error


def _write_json(path: Path, value: dict[str, Any]) -> None:
    write_file(path, json.dumps(value, indent=1, sort_keys=True) + "\n", replace=True)


def last_whole(states: Path) -> str | None:
    """The latest checkpoint that was written to its end; cut-off ones are removed."""
    whole = []
    for folder in states.glob("checkpoint-*"):
        if (folder / COMPLETE_FILE).is_file():
            whole.append(folder)
        elif int(os.environ.get("RANK", "0")) == 0:
            shutil.rmtree(folder)
    return str(max(whole, key=lambda f: int(f.name.rsplit("-", 1)[1]))) if whole else None


def languages_of(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Rows, harmful ones and the sources of those, by language; empty where none is given.

    A teacher's label counts where a row has no other.
    """
    found: dict[str, dict[str, Any]] = {}
    for row in (row for row in rows if row.weight > 0.0):
        one = found.setdefault(row.lang, {"rows": 0, "harmful": 0, "sources": set()})
        one["rows"] += 1
        if (row.soft or 0.0) >= 0.5 if row.label is None else row.label == 1:
            one["harmful"] += 1
            one["sources"].add(row.source)
    if set(found) <= {""}:
        return []
    return [
        {
            "lang": lang,
            "rows": one["rows"],
            "harmful": one["harmful"],
            "harmful_sources": sorted(one["sources"]),
        }
        for lang, one in sorted(found.items())
    ]


def scripts_read(rows: Sequence[Row]) -> list[str]:
    """The scripts of all texts together, and those of each language of LANGUAGE_ROWS rows or more.

    Of a guard of many languages one of a script of its own may be less than a hundredth.
    """
    texts: dict[str, list[str]] = {}
    count: Counter[str] = Counter()
    for row in (row for row in rows if row.weight > 0.0):
        count[row.lang] += 1
        texts.setdefault(row.lang, []).extend(text for text in row.pair if text)
    of_languages = [scripts_of(own) for lang, own in texts.items() if count[lang] >= LANGUAGE_ROWS]
    return sorted({*scripts_of(chain.from_iterable(texts.values())), *chain(*of_languages)})


def write_student(
    trainer: Trainer,
    start: Checkpoint,
    config: Config,
    rows: Sequence[Row],
    record: dict[str, Any],
    student: Path,
) -> None:
    """Model, tokenizer and metadata, aside and then renamed."""
    sources: dict[tuple[str, str], int] = {}
    for row in (row for row in rows if row.weight > 0.0):
        sources[row.source, row.licence] = sources.get((row.source, row.licence), 0) + 1
    data = [
        {"source": source, "licence": licence, "rows": count}
        for (source, licence), count in sorted(sources.items())
    ]
    recipe = config.card.get("recipe", "harmguard train distill")
    card = {key: value for key, value in config.card.items() if key != "recipe"}
    about = {
        **card,
        "scripts": scripts_read(rows),
        "languages": languages_of(rows),
        "max_tokens": config.student.max_tokens,
        "training": {"data": data, "recipe": recipe},
        "run": record,
    }
    with writing(f"{student.parent.name}/student"), new_folder(student) as aside:
        with quiet():
            trainer.save_model(str(aside))
        write_tokenizer(start.tokenizer, start.folder, aside, config.student.max_tokens)
        _write_json(aside / METADATA_FILE, about)
