"""A plan: one TOML file with the settings of every stage, read by name or by path."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from harmguard.errors import ConfigError
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
from harmguard.training.models import Model

STAGES = ("generate", "respond", "label", "distill")
MODES = ("comply", "refuse", "none")
ENGINES = ("transformers", "openai", "ray")
ROWS = ("jsonl", "parquet")
TEACHERS = ("causal", "classifier", "bundle")
OUT = "{out}"  # in a path: the folder of `harmguard train run`


@dataclass(frozen=True)
class Engine:
    """Where the models run."""

    kind: str = "transformers"  # one of ENGINES
    block_rows: int = 64  # rows per unit of work: a batch on the device, what a kill can cost
    workers: int = 8  # openai: requests at a time; ray: actors
    gpus: float = 0.0  # ray: GPUs of an actor
    precision: str = "fp32"  # on a CPU; "auto": bfloat16 where it is faster; a GPU always has it


@dataclass(frozen=True)
class Sampling:
    """How answers are drawn; temperature 0 takes the likeliest token."""

    max_new_tokens: int = 256
    temperature: float = 1.0
    top_p: float = 1.0
    stop: str = ""  # an answer ends before it, where it does not begin with it


@dataclass(frozen=True)
class Filters:
    """What makes a generated instruction unusable, besides a refusal."""

    min_words: int = 3
    max_words: int = 200
    similar: float = 0.7  # Jaccard similarity of word trigrams from which two texts are the same
    language: str = "en"  # "" takes any


@dataclass(frozen=True)
class Generate:
    """Stage 1; `request`, or the prefix, holds {exemplars}, `benign_request` also {instruction}.

    With {exemplars} in the prefix a model goes on with a list that it seems to have begun.
    """

    model: Model
    count: int  # instructions wanted
    request: str
    max_attempts: int  # answers sampled at most to get them, rounded down to whole blocks
    prefix: str = "I have an idea for a prompt:"
    exemplars: int = 5
    answers: int = 1  # in a row that have the same exemplars, which are read once
    bare: int = 0  # further answers without the prefix, to measure what it does
    benign: float = 0.0  # benign counterparts per instruction, at most 1
    benign_request: str = ""
    licence: str = "unknown"  # of the generated texts
    sampling: Sampling = field(default_factory=Sampling)
    filters: Filters = field(default_factory=Filters)


@dataclass(frozen=True)
class Mode:
    """How one kind of response is made; `request` holds {prompt}."""

    model: Model
    request: str = "{prompt}"
    prefix: str = ""


@dataclass(frozen=True)
class Respond:
    """Stage 2; a share is rows per instruction: a sum of 1 divides them, 1 and 1 makes pairs."""

    shares: dict[str, float]  # of each of MODES
    comply: Mode
    refuse: Mode
    sampling: Sampling = field(default_factory=Sampling)


@dataclass(frozen=True)
class Label:
    """Stage 3: the teacher."""

    model: Model
    kind: str = "causal"  # one of TEACHERS
    append: str = "\n\n"  # causal: what its answer begins with before the verdict
    max_tokens: int = 8192  # causal: a longer exchange is counted and left out, never cut
    temperature: float = 1.0  # of the soft label


@dataclass(frozen=True)
class Distill:
    """Stage 4: as a config of `harmguard train distill`, for several seeds."""

    student: Student
    seeds: list[int]
    balance: bool | str = True
    loss: Loss = field(default_factory=Loss)
    optim: Optim = field(default_factory=Optim)
    card: dict[str, str] = field(default_factory=dict)
    save_minutes: float = 10.0

    def config(self, rows: Path, seed: int) -> Config:
        """The distillation config on `rows` with one of the seeds."""
        optim = replace(self.optim, seed=seed)
        data = Data([str(rows)], balance=self.balance)
        return Config(self.student, data, self.loss, optim, self.card, self.save_minutes)


@dataclass(frozen=True)
class Plan:
    """A whole pipeline: what `harmguard train run RECIPE` reads."""

    name: str
    labelled: list[str] = field(default_factory=list)  # exemplars, and training rows of their own
    # A plan may lack the sections of stages that it is not for; `read_plan` says which it needs.
    generate: Generate = None  # type: ignore[assignment]
    respond: Respond = None  # type: ignore[assignment]
    label: Label = None  # type: ignore[assignment]
    distill: Distill = None  # type: ignore[assignment]
    evaluate: list[str] = field(default_factory=list)  # labelled rows, never trained on
    seed: int = 0  # of exemplars, sampling and shares
    tiny_models: bool = False  # make tiny models in {out}/models first
    engine: Engine = field(default_factory=Engine)
    rows: str = "jsonl"  # what the stages write, one of ROWS
    out: str = ""  # what {out} stood for; read_plan sets it

    @property
    def rows_file(self) -> str:
        """The name of the file of rows in a stage's folder."""
        return f"rows.{self.rows}"

    def section(self, stage: str) -> dict[str, Any]:
        """What decides a stage's rows, as plain JSON values: its settings and the seed."""
        settings = json.dumps(asdict(getattr(self, stage)))
        if self.out:  # so that a run means the same in another folder
            settings = settings.replace(json.dumps(self.out)[1:-1], OUT)
        about = {"plan": self.name, "seed": self.seed, "rows": self.rows}
        return {**about, stage: json.loads(settings)}


def plan_names() -> list[str]:
    """Names of the plans in the package."""
    folder = files("harmguard.training.harmaug") / "plans"
    return sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name[-5:] == ".toml")


def read_plan(plan: str, out: Path | None = None, *, stages: Sequence[str] = STAGES) -> Plan:
    """The plan of a path, or of a name in the package; `out` stands for {out} in its paths.

    Relative paths are relative to the plan's folder. `stages` names the sections that it must
    have, those of STAGES that are to be run. Raises ConfigError for a missing file or section,
    TOML errors, unknown, mistyped or impossible settings.
    """
    path = Path(plan)
    if not path.is_file():
        path = Path(str(files("harmguard.training.harmaug") / "plans" / f"{plan}.toml"))
    if not path.is_file():
        raise ConfigError(
            f"no plan {Path(plan).name!a}; expected a TOML file or one of {plan_names()}"
        )
    raw = read_toml(path)
    if "out" in raw:
        raise ConfigError(f"{path.name}: out is no setting; expected it on the command line")
    found: Plan = build(Plan, _resolved(raw, path.resolve().parent, out), path.name)
    for stage in stages:
        if getattr(found, stage) is None:
            raise ConfigError(
                f"{path.name}: no section {stage}; expected one, because `harmguard train "
                f"{'run' if len(stages) > 1 else stage}` takes its settings from it"
            )
    _check_plan(found, path.name)
    return replace(found, out=str(out.resolve()) if out else "")


def _resolved(value: Any, folder: Path, out: Path | None, key: str = "") -> Any:
    """Paths made absolute: of data files always, of models where there is such a path."""
    if isinstance(value, dict):
        return {k: _resolved(v, folder, out, k) for k, v in value.items()}
    if isinstance(value, list) and key in ("labelled", "evaluate"):
        return [str(folder / v) if isinstance(v, str) else v for v in value]
    if isinstance(value, str) and key == "path":
        if value.startswith(OUT):
            if out is None:
                raise ConfigError(
                    f"a model's path begins with {OUT}; expected that only in a plan for "
                    "`harmguard train run`, which makes those models"
                )
            return str(out.resolve()) + value[len(OUT) :]
        # What is neither the hub's nor here may be the name that a server has for its model.
        return str(folder / value) if (folder / value).exists() else value
    return value


def _check_plan(plan: Plan, where: str) -> None:
    checks = [*_checks(plan)]
    for stage, of in (("generate", _of_generate), ("respond", _of_respond), ("label", _of_label)):
        if getattr(plan, stage) is not None:
            checks += of(plan)
    if plan.distill is not None:
        checks += [
            (not plan.distill.seeds, "distill.seeds must hold at least one"),
            (len(set(plan.distill.seeds)) < len(plan.distill.seeds), "distill.seeds must differ"),
        ]
    for bad, message in checks:
        if bad:
            raise ConfigError(f"{where}: {message}")
    if plan.distill is not None:
        check(plan.distill.config(Path("rows.jsonl"), plan.distill.seeds[0]), where)


Checks = list[tuple[bool, str]]


def _checks(plan: Plan) -> Checks:
    engine = plan.engine
    models = [] if plan.generate is None else [plan.generate.model]
    if plan.respond is not None:
        models += [plan.respond.comply.model, plan.respond.refuse.model]
    if plan.label is not None and plan.label.kind == "causal":
        models.append(plan.label.model)
    urls = [model.url for model in models]
    return [
        (plan.rows not in ROWS, f"rows must be one of {ROWS}"),
        (engine.precision not in ("fp32", "auto"), 'engine.precision must be "fp32" or "auto"'),
        (engine.kind not in ENGINES, f"engine.kind must be one of {ENGINES}"),
        (min(engine.block_rows, engine.workers) < 1, "engine.block_rows and engine.workers must "
         "be at least 1"),
        (engine.kind == "openai" and not all(urls), "engine openai needs a url for every model"),
        (engine.kind != "openai" and any(urls), "a url is for engine openai only"),
    ]  # fmt: skip


def _of_generate(plan: Plan) -> Checks:
    made = plan.generate
    return [
        (made.count < 1, "generate.count must be at least 1"),
        (made.max_attempts < made.count, "generate.max_attempts must be at least generate.count"),
        ("{exemplars}" not in made.request + made.prefix, "generate.request or generate.prefix "
         "must hold {exemplars}"),
        (made.bare > 0 and "{exemplars}" not in made.request, "generate.bare needs {exemplars} in "
         "generate.request, because its tries have no prefix"),
        (made.answers < 1, "generate.answers must be at least 1"),
        (not 0.0 <= made.benign <= 1.0, "generate.benign must be in [0, 1]"),
        (made.benign > 0 and "{instruction}" not in made.benign_request,
         "generate.benign_request must hold {instruction}"),
        (not 0.0 < made.filters.similar <= 1.0, "generate.filters.similar must be in (0, 1]"),
        (made.filters.language not in ("", "en"), 'generate.filters.language must be "en" or ""'),
        (not plan.labelled, "labelled must name at least one file"),
        _wrong(made.sampling),
    ]  # fmt: skip


def _of_respond(plan: Plan) -> Checks:
    respond, shares = plan.respond, plan.respond.shares
    return [
        (set(shares) != set(MODES), f"respond.shares must have exactly {MODES}"),
        (any(not 0.0 <= s <= 1.0 for s in shares.values()), "respond.shares must be in [0, 1]"),
        # Decimal fractions such as .7, .2 and .1 sum to a little less than 1.
        (sum(shares.values()) < 1.0 - 1e-9, "respond.shares must sum to at least 1"),
        (any("{prompt}" not in m.request for m in (respond.comply, respond.refuse)),
         "respond requests must hold {prompt}"),
        _wrong(respond.sampling),
    ]  # fmt: skip


def _of_label(plan: Plan) -> Checks:
    return [
        (plan.label.kind not in TEACHERS, f"label.kind must be one of {TEACHERS}"),
        (plan.label.temperature <= 0.0, "label.temperature must be above 0"),
    ]


def _wrong(sampling: Sampling) -> tuple[bool, str]:
    fits = sampling.temperature >= 0.0 < sampling.top_p <= 1.0 <= sampling.max_new_tokens
    return not fits, (
        "sampling needs max_new_tokens from 1, temperature from 0, and top_p in (0, 1]"
    )
