"""The distillation config: a TOML file, flat sections, every unit in a name or comment."""

from __future__ import annotations

import tomllib
import types
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

from harmguard.errors import ConfigError

DRAWN = "drawn"  # a value of data.balance
TIER_WEIGHTS = {"A": 1.0, "B": 0.7, "C": 0.4}


@dataclass(frozen=True)
class Student:
    """The checkpoint to start from."""

    path: str  # a folder, or hub:owner/name
    max_tokens: int = 1024  # positions used, special tokens included
    dropout: float | None = None  # of every part of the model; None keeps the checkpoint's own
    frozen_layers: int = 0  # the embeddings and this many lowest layers stay as they are


@dataclass(frozen=True)
class Data:
    """The rows to train on."""

    train: list[str]  # files of rows
    held_out: list[str] = field(default_factory=list)  # files of rows that none of train may be in
    licences: list[str] = field(default_factory=list)  # keep rows with one of these; [] keeps all
    # True: as many harmful as benign rows of each kind of input per epoch. "drawn", as HarmAug's
    # authors: as many rows as there are, with replacement, both hard labels equally likely.
    balance: bool | str = True
    tier_weights: dict[str, float] = field(default_factory=lambda: dict(TIER_WEIGHTS))


@dataclass(frozen=True)
class Loss:
    """The weights of the two terms, for rows with a soft label (HarmAug, section 3).

    lambda_hard * CE(hard label) + (1 - lambda_hard) * T^2 * KL(teacher || student) at the
    temperature T; rows without a soft label have CE alone.
    """

    lambda_hard: float = 0.5
    temperature: float = 1.0
    hard_from_soft: bool = False  # the paper's: soft > .5, even where a row has a label of its own


@dataclass(frozen=True)
class Optim:
    """The defaults are the paper's (HarmAug, appendix): AdamW, linear decay to zero."""

    lr: float = 3e-5
    epochs: int = 3
    batch_rows: int = 256  # rows per optimiser step, over all devices and accumulation
    device_rows: int = 8  # rows per device and forward pass
    warmup_steps: int = 100
    weight_decay: float = 0.1  # not on biases and LayerNorm
    clip_norm: float = 1.0
    seed: int = 0
    precision: str = "auto"  # "auto": bfloat16 where it is faster; "fp32": the same anywhere


@dataclass(frozen=True)
class Config:
    """A whole run: what `harmguard train distill CONFIG.toml` reads."""

    student: Student
    data: Data
    loss: Loss = field(default_factory=Loss)
    optim: Optim = field(default_factory=Optim)
    card: dict[str, str] = field(default_factory=dict)  # name, version, licence, base_model, ...
    save_minutes: float = 10.0

    def to_json(self) -> dict[str, Any]:
        """The config as plain JSON values, to be kept beside what it made."""
        return asdict(self)


def read_config(path: Path) -> Config:
    """Read and check a config; paths in it are relative to its own folder.

    Raises ConfigError for a missing file, TOML errors, unknown or mistyped keys.
    """
    config: Config = build(Config, read_toml(path), path.name)
    check(config, path.name)
    base = path.resolve().parent
    train, held_out = (
        [str(base / name) for name in names] for names in (config.data.train, config.data.held_out)
    )
    name = config.student.path
    student = name if name.startswith("hub:") else str(base / name)
    return Config(
        replace(config.student, path=student),
        replace(config.data, train=train, held_out=held_out),
        config.loss,
        config.optim,
        config.card,
        config.save_minutes,
    )


def read_toml(path: Path) -> dict[str, Any]:
    """The file's values. Raises ConfigError for a missing file and for TOML errors."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"no config file {path.name}; expected a TOML file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path.name} is not TOML: {error}") from None


def build(cls: Any, raw: dict[str, Any], where: str) -> Any:
    """The dataclass `cls` from a table, sections included.

    Raises ConfigError for unknown, missing and mistyped keys; `where` begins the message.
    """
    hints = get_type_hints(cls)
    unknown = sorted(set(raw) - set(hints))
    if unknown:
        raise ConfigError(f"{where}: unknown key {unknown[0]!r}; expected one of {sorted(hints)}")
    values: dict[str, Any] = {}
    for key, value in raw.items():
        hint, place = hints[key], f"{where}: {key}"
        if hasattr(hint, "__dataclass_fields__"):
            if not isinstance(value, dict):
                raise ConfigError(f"{place}: found a {type(value).__name__}; expected a section")
            values[key] = build(hint, value, place)
        elif not _fits(value, hint):
            raise ConfigError(f"{place}: found a {type(value).__name__}; expected {hint}")
        else:
            values[key] = value
    try:
        return cls(**values)
    except TypeError:
        needed = [
            f.name
            for f in fields(cls)
            if f.name not in values and f.default is MISSING and f.default_factory is MISSING
        ]
        raise ConfigError(f"{where}: missing keys; absent are {needed}") from None


def _fits(value: Any, hint: Any) -> bool:
    if isinstance(hint, types.UnionType):
        return any(_fits(value, part) for part in get_args(hint))
    origin = getattr(hint, "__origin__", hint)
    if origin is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if origin is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, origin)


def check(config: Config, where: str) -> None:
    """Raise ConfigError for a number out of its range."""
    loss, optim = config.loss, config.optim
    for bad, message in (
        (not 0.0 <= loss.lambda_hard <= 1.0, "loss.lambda_hard must be in [0, 1]"),
        (loss.temperature <= 0.0, "loss.temperature must be above 0"),
        (config.data.balance not in (True, False, DRAWN), 'data.balance must be true, false or '
         '"drawn"'),
        (optim.precision not in ("auto", "fp32"), 'optim.precision must be "auto" or "fp32"'),
        (optim.epochs < 1, "optim.epochs must be at least 1"),
        (optim.device_rows < 1, "optim.device_rows must be at least 1"),
        (optim.batch_rows % max(optim.device_rows, 1), "optim.batch_rows must be a multiple of "
         "optim.device_rows"),
        (config.student.max_tokens < 8, "student.max_tokens must be at least 8"),
        (config.student.frozen_layers < 0, "student.frozen_layers must be at least 0"),
        (not config.data.train, "data.train must name at least one file"),
    ):  # fmt: skip
        if bad:
            raise ConfigError(f"{where}: {message}")
