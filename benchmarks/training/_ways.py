"""Ways of asking a small model, each a plan of the pipeline, and counts of what it wrote."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict

from benchmarks.harness.data import write_rows
from benchmarks.harness.results import Share, read_json, share
from harmguard.rows import Row, read_rows
from harmguard.training.harmaug import diversity, smoke
from harmguard.training.harmaug.filters import instruction_of, is_refusal
from harmguard.training.harmaug.generate import SURPLUS, generate
from harmguard.training.harmaug.label import label
from harmguard.training.harmaug.plan import Label, Plan, read_plan
from harmguard.training.harmaug.respond import respond
from harmguard.training.models import Model
from harmguard.training.stage import REASON

LIST, PREFIX, BARE, PARAPHRASE, MORE = "list", "prefix", "bare", "paraphrase", "more"
TRIES, QUICK_TRIES = 1000, 8
"""With the paper's prefix, and as many without."""
PARAPHRASED = "Write this request in other words, as a single sentence:\n{exemplars}"
PARAPHRASE_PREFIX = "Here is the same request in other words:"


class Written(TypedDict):
    """What one way of asking gave."""

    way: str
    passed: Share
    """Of the tries, by the filters."""
    reasons: dict[str, int]
    """Of the others."""
    flagged: Share
    """Of the instructions that are kept, alone, by the teacher at .5."""
    diversity: dict[str, Any]
    """As many instructions of each way, beside its exemplars."""


class Answered(TypedDict):
    """The rows of one mode."""

    way: str
    mode: str
    refusals: int
    flagged: Share


def plans(exemplars: Path, teacher: Path) -> dict[str, Plan]:
    """The plan of each way but BARE, whose tries are PREFIX's."""
    small = read_plan("harmaug-small", stages=("generate", "respond"))
    small = replace(
        small, labelled=[str(exemplars)], label=Label(Model(str(teacher)), kind="bundle")
    )
    made, paper = small.generate, read_plan("harmaug-435m").generate
    as_paper = replace(
        made, count=TRIES, bare=TRIES, max_attempts=4 * TRIES, request=paper.request,
        prefix=paper.prefix, exemplars=paper.exemplars,
    )  # fmt: skip
    # Drawn from the harmful rows as exemplars are, so that its rows stay as near as they can.
    other = replace(
        made, request=PARAPHRASED, prefix=PARAPHRASE_PREFIX, exemplars=1, answers=2,
    )  # fmt: skip
    more = replace(made, count=2 * made.count, max_attempts=2 * made.max_attempts)
    found = {LIST: made, PREFIX: as_paper, PARAPHRASE: other, MORE: more}
    return {way: replace(small, generate=settings) for way, settings in found.items()}


def tiny_plans(work: Path, exemplars: Path) -> dict[str, Plan]:
    """The same with the smoke plan's models, made in `work`, which know one request each."""
    tiny = read_plan("smoke", work)
    smoke.make_models(tiny, work / "models")
    tiny = replace(tiny, labelled=[str(exemplars)])
    made = replace(tiny.generate, count=12, bare=0, benign=0.0, max_attempts=64)
    shares = {"comply": 1.0, "refuse": 1.0, "none": 1.0}
    tiny = replace(tiny, generate=made, respond=replace(tiny.respond, shares=shares))
    return {
        LIST: tiny,
        PREFIX: replace(tiny, generate=replace(made, count=QUICK_TRIES, bare=QUICK_TRIES)),
        PARAPHRASE: replace(tiny, seed=1),
        MORE: replace(tiny, generate=replace(made, count=16)),
    }


def write(item: tuple[str, Plan, Path]) -> None:
    """Generate one way's instructions, and but for PREFIX their responses."""
    way, plan, out = item
    generate(plan, out / "generate")
    kept = out / "generate" / plan.rows_file
    if way != PREFIX:
        respond(plan, kept, out / "respond")
    elif not (out / f"{BARE}.jsonl").is_file():
        write_rows(out / f"{BARE}.jsonl", _bare(plan, out / "generate"))


def label_way(way: str, plan: Plan, out: Path) -> None:
    """The teacher's label on every row of a way."""
    files = [out / "respond" / plan.rows_file]
    if way == PREFIX:
        both = (out / "generate" / plan.rows_file, out / f"{BARE}.jsonl")
        files = [path for path in both if path.stat().st_size]  # every try may be a refusal
    label(plan, files, out / "label")


def rows_of(out: Path) -> list[Row]:
    """The labelled rows of a way."""
    return read_rows(out / "label" / "rows.jsonl")


def counts(plans: dict[str, Plan], work: Path, tries: int) -> tuple[list[Written], list[Answered]]:
    """The figures of all ways but MORE, and of the responses, by way and mode."""
    exemplars = sorted({row.prompt for row in read_rows(Path(plans[LIST].labelled[0]))})
    places = {LIST: "harmful", PARAPHRASE: "harmful", PREFIX: "harmful", BARE: "bare"}
    soft: dict[str, dict[str, Row]] = {}
    for way, kind in places.items():
        own = rows_of(work / (PREFIX if way == BARE else way))
        alone = {row.id.removesuffix("-none"): row for row in own if row.kind == "prompt"}
        soft[way] = {name: row for name, row in alone.items() if name.startswith(kind)}
    # Figures of variety fall as a set grows: as many of each, where a way wrote any.
    size = min(len(own) for own in soft.values() if own)
    written: list[Written] = []
    for way, kind in places.items():
        folder = work / (PREFIX if way == BARE else way) / "generate"
        verdicts = _verdicts(folder, kind)
        if way in (PREFIX, BARE):  # as many tries of each
            verdicts = dict(sorted(verdicts.items())[:tries])
        kept = [row for name, row in soft[way].items() if name in verdicts]
        texts = [row.prompt for row in soft[way].values()][:size]
        written.append(
            {
                "way": way,
                "passed": share(why in ("", SURPLUS) for why in verdicts.values()),
                "reasons": dict(
                    sorted(Counter(w for w in verdicts.values() if w not in ("", SURPLUS)).items())
                ),
                "flagged": share((row.soft or 0.0) > 0.5 for row in kept),
                "diversity": diversity.figures(exemplars, texts, 0) if texts else {},
            }
        )
    return written, [one for way in (LIST, PARAPHRASE) for one in _modes(way, work / way)]


def _modes(way: str, out: Path) -> list[Answered]:
    modes: dict[str, list[Row]] = {}
    for row in rows_of(out):
        modes.setdefault(row.id.rpartition("-")[2], []).append(row)
    return [
        {
            "way": way,
            "mode": mode,
            "refusals": sum(is_refusal(row.response or "") for row in own),
            "flagged": share((row.soft or 0.0) > 0.5 for row in own),
        }
        for mode, own in modes.items()
    ]


def _verdicts(generated: Path, kind: str) -> dict[str, str]:
    """Id -> why a try gave no row, "" where it did, of one kind of tries."""
    found = dict.fromkeys(_answers(generated), "")
    for line in (generated / "rejects.jsonl").read_text(encoding="utf-8").splitlines():
        reject = json.loads(line)
        found[reject["id"]] = reject[REASON]
    return {name: why for name, why in found.items() if name.startswith(f"{kind}-")}


def _bare(plan: Plan, generated: Path) -> list[Row]:
    """What the filters kept of the tries without the prefix, which the stage only counts."""
    answers, verdicts = _answers(generated), _verdicts(generated, "bare")
    return [
        Row(name, instruction_of(answers[name]), None, None, source="harmaug-bare",
            licence=plan.generate.licence)
        for name, why in verdicts.items() if not why
    ]  # fmt: skip


def _answers(generated: Path) -> dict[str, str]:
    """Id -> answer of every try."""
    lines = (generated / "journal.jsonl").read_text(encoding="utf-8").splitlines()
    return {item["id"]: item.get("text", "") for item in map(json.loads, lines)}


def settings_of(plan: Plan) -> dict[str, Any]:
    """What a page says of a way."""
    made = plan.generate
    return {
        "request": made.request, "prefix": made.prefix, "exemplars": made.exemplars,
        "answers": made.answers, "temperature": made.sampling.temperature,
        "max_new_tokens": made.sampling.max_new_tokens,
    }  # fmt: skip


def seconds(work: Path) -> dict[str, float]:
    """What the stages took, as far as their calls were not killed."""
    path = work / "seconds.json"
    return dict(read_json(path)) if path.is_file() else {}


def filtered(rows: Sequence[Row], variation: str) -> list[Row]:
    """Rows whose label the teacher is sure of, or those of instructions that it flags."""
    if variation == "sure":
        return [row for row in rows if not 0.1 < (row.soft or 0.0) < 0.9]
    flagged = {
        row.id.removesuffix("-none")
        for row in rows
        if row.kind == "prompt" and (row.soft or 0.0) > 0.5
    }
    return [row for row in rows if row.id.rpartition("-")[0] in flagged]
