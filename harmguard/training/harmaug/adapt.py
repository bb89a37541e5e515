"""Continual fine-tuning against a new attack, with replay so that the old is not forgotten."""

from __future__ import annotations

import hashlib
import json
import random
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from harmguard.checkpoint import read_metadata
from harmguard.errors import CheckpointError, ConfigError
from harmguard.rows import Row
from harmguard.training.distil.config import (
    Config,
    Data,
    Loss,
    Optim,
    Student,
    build,
    check,
    read_toml,
)
from harmguard.training.distil.distill import devices, distill
from harmguard.training.distil.run_folder import refuse_other, writing
from harmguard.training.evaluate.scoring import evaluate_guard
from harmguard.training.stage import write_json, write_rows
from harmguard.training.stage_inputs import as_item, read_inputs, unique

SETS = ("old", "new")
FIGURES = ("f1", "auprc")


@dataclass(frozen=True)
class Adapt:
    """What `harmguard train adapt ADAPT.toml` reads; paths are relative to the file."""

    student: str  # the checkpoint that was trained already, with its harmguard_training.json
    new: list[str]  # labelled rows of the attack
    replay: list[str]  # rows that the student was trained on; [] with replay_rows 0
    old_eval: list[str]  # what it must not forget
    new_eval: list[str]  # the attack, other rows than `new`
    replay_rows: float = 4.0  # replayed rows per new one
    loss: Loss = field(default_factory=Loss)
    optim: Optim = field(default_factory=lambda: Optim(lr=1e-5, epochs=1, warmup_steps=0))


def read_adapt(path: Path) -> Adapt:
    """Read and check the settings. Raises ConfigError for whatever cannot be used."""
    raw = read_toml(path)
    base = path.resolve().parent
    for key in ("new", "replay", "old_eval", "new_eval"):
        if isinstance(raw.get(key), list):
            raw[key] = [str(base / name) for name in raw[key]]
    if isinstance(raw.get("student"), str):
        raw["student"] = str(base / raw["student"])
    found: Adapt = build(Adapt, raw, path.name)
    if found.replay_rows < 0 or not found.new or not found.old_eval or not found.new_eval:
        raise ConfigError(
            f"{path.name}: expected replay_rows from 0, and files in new, old_eval and new_eval"
        )
    if found.replay_rows > 0 and not found.replay:
        raise ConfigError(
            f"{path.name}: replay_rows is {found.replay_rows}, replay names no file; expected rows "
            "that the student was trained on, or replay_rows = 0, which forgets the old"
        )
    check(Config(Student(found.student), Data(found.new), found.loss, found.optim), path.name)
    return found


def adapt(settings: Adapt, out: Path) -> dict[str, Any]:
    """Fine-tune on the attack and replayed rows; old and new scores, before and after.

    Writes `out/student`, `out/rows.jsonl` (what was trained on) and `out/adapt.json`, the
    returned report. Every epoch has every row once, in steps of at most `optim.batch_rows`.
    Goes on where it was stopped. Raises CheckpointError when the student is no checkpoint of
    `harmguard train distill`, StageError when a file cannot be written, and what `distill` does.
    """
    folder = Path(settings.student)
    about = read_metadata(folder)
    if "max_tokens" not in about:
        raise CheckpointError(
            f"{folder.name} does not say how many tokens it was trained with; expected a student "
            "of `harmguard train distill`"
        )
    parts = read_inputs([Path(path) for path in (*settings.new, *settings.replay)])
    new, replay = (
        [row for part in some for row in part]
        for some in (parts[: len(settings.new)], parts[len(settings.new) :])
    )
    rows = mixed(new, replay, settings.replay_rows, settings.optim.seed)
    out = out.resolve()
    with writing(out.name):
        out.mkdir(parents=True, exist_ok=True)
    batch_rows = _claim(out, settings, rows)
    card: dict[str, str] = {
        key: str(about[key]) for key in ("name", "licence", "base_model") if key in about
    }
    config = Config(
        Student(settings.student, max_tokens=int(about["max_tokens"])),
        Data([str(out / "rows.jsonl")], balance=False),  # an attack may have one label only
        settings.loss,
        replace(settings.optim, batch_rows=batch_rows),
        {**card, "recipe": "harmguard train adapt"},
    )
    before = _scores(folder, settings)
    student = distill(config, out)
    report = {
        "settings": asdict(settings),
        "rows": {"new": len(new), "replay": len(rows) - len(new)},
        "batch_rows": batch_rows,
        "before": before,
        "after": _scores(student, settings),
    }
    write_json(out / "adapt.json", report)
    return report


def _claim(out: Path, settings: Adapt, rows: Sequence[Row]) -> int:
    """Rows per step of the run in `out`, begun if there is none: it has `rows.jsonl` then.

    Raises ConfigError when the folder holds a run with other settings or rows. The rows per step
    are kept, since they depend on the devices that the first call found.
    """
    path = out / "run-adapt.json"
    request: dict[str, Any] = {
        "optim": asdict(settings.optim),
        "loss": asdict(settings.loss),
        "replay_rows": settings.replay_rows,
        "rows": hashlib.sha256(repr([as_item(row) for row in rows]).encode()).hexdigest(),
    }
    if path.is_file():
        kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        refuse_other(out.name, kept, request)
        batch_rows = int(kept["batch_rows"])
    else:
        batch_rows = step_rows(len(rows), settings.optim, devices())
    every = unique([*rows, *filling(rows, batch_rows)])
    write_rows(out / "rows.jsonl", [as_item(row) for row in every])
    if not path.is_file():
        write_json(path, {**request, "batch_rows": batch_rows})
    return batch_rows


def mixed(new: Sequence[Row], replay: Sequence[Row], per_new: float, seed: int) -> list[Row]:
    """All new rows, and up to `per_new` times as many replayed ones, drawn without repeats."""
    count = min(len(replay), round(per_new * len(new)))
    return unique([*new, *random.Random(seed).sample(list(replay), count)])


def step_rows(rows: int, optim: Optim, devices: int) -> int:
    """Rows per step, at most `optim.batch_rows`, with as little to fill up as can be.

    Raises ConfigError when `optim.batch_rows` is no multiple of the rows that go to the devices.
    """
    unit = optim.device_rows * devices
    if optim.batch_rows % unit:
        raise ConfigError(
            f"optim.batch_rows {optim.batch_rows} is not a multiple of optim.device_rows "
            f"{optim.device_rows} times {devices} devices"
        )
    steps = -(-rows // optim.batch_rows)
    return -(-rows // (steps * unit)) * unit


def filling(rows: Sequence[Row], batch_rows: int) -> list[Row]:
    """Copies of weight 0 that make whole steps of `rows`.

    Steps are of one size, and what is left over at the end of an epoch would not be trained on.
    """
    copied = [rows[i % len(rows)] for i in range(-len(rows) % batch_rows)]
    return [replace(row, id=f"{row.id}-filling-{i}", weight=0.0) for i, row in enumerate(copied)]


def table(report: dict[str, Any]) -> str:
    """Old and new scores before and after, for a terminal."""
    lines = []
    for name in SETS:
        parts = [
            f"{figure} {report['before'][name][figure]:.4f} -> {report['after'][name][figure]:.4f}"
            for figure in FIGURES
        ]
        lines.append(f"{name}: {', '.join(parts)}")
    return "\n".join(lines)


def _scores(guard: Path, settings: Adapt) -> dict[str, dict[str, float]]:
    """Means over the sources of each set."""
    found = {}
    for name, paths in zip(SETS, (settings.old_eval, settings.new_eval), strict=True):
        _, report = evaluate_guard(guard, [Path(path) for path in paths])
        sources = report["sources"]
        if not sources:
            raise ConfigError(f"{name}_eval has no source with both labels; expected one or more")
        found[name] = {
            figure: statistics.fmean(s[figure]["value"] for s in sources) for figure in FIGURES
        }
    return found
