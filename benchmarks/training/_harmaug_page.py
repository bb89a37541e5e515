"""The page of `benchmarks harmaug`: tables and a picture of its raw result. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.harness.cells import percent
from benchmarks.harness.picture import COLOURS, MARKS, figure, save
from benchmarks.quality.quality import Interval
from benchmarks.training._ablation import MACRO, PAIRS, PROMPTS
from harmguard.bench.markdown import table

WAYS = {
    "list": "a numbered list that it continues (HarmAug's rows below)",
    "paraphrase": "paraphrases of the exemplars",
    "prefix": "the paper's request and prefix",
    "bare": "the same without the prefix",
}
PAPER = {"prefix": "96.8%", "bare": "13.0%"}
"""Of its generator, a model of 2B parameters (arXiv 2410.01524)."""
ARMS = {
    "hard": "hard labels",
    "kd": "KD from the teacher",
    "harmaug": "KD, HarmAug's rows",
    "paraphrase": "KD, paraphrases",
    "real": "KD, real unused rows",
    "sure": "KD, HarmAug's rows of sure labels",
    "flagged": "KD, HarmAug's rows of flagged instructions",
    "more": "KD, twice HarmAug's rows",
}
GROUPS = (MACRO, PROMPTS, PAIRS)


def tables(result: Mapping[str, Any]) -> str:
    """What was written, how it was answered, and what it is worth."""
    written = [
        [
            WAYS[one["way"]],
            str(one["passed"]["n"]),
            percent(one["passed"]),
            PAPER.get(one["way"], "-"),
            str(one["reasons"].get("refusal", 0)),
            f"{percent(one['flagged'])}, n = {one['flagged']['n']}",
        ]
        for one in result["written"]
    ]
    removed = [[WAYS[one["way"]], _reasons(one["reasons"])] for one in result["written"]]
    variety = [_variety(one) for one in result["written"] if one["diversity"]]
    answered = [
        [WAYS[one["way"]], one["mode"], str(one["flagged"]["n"]), str(one["refusals"]),
         percent(one["flagged"])]
        for one in result["answered"]
    ]  # fmt: skip
    seeds = len(result["settings"]["seeds"])
    taken = ", ".join(f"{name} {s / 60:.0f} min" for name, s in result["seconds"].items())
    return "\n\n".join(
        (
            "Instructions by way of asking: the share of tries that the filters keep, and of those "
            "the share that the teacher flags alone at .5 (Wilson's 95 % intervals):",
            table(["asked by", "tries", "kept", "paper", "refusals", "flagged"], written),
            table(["asked by", "removed"], removed),
            "Variety, over as many of each, and that of the exemplars beside them: different "
            "word 1-, 2- and 3-grams among all, and equally large clusters as varied:",
            table(["asked by", "n-grams", "exemplars'", "clusters", "exemplars'"], variety),
            "Rows by mode, flagged by the teacher at .5:",
            table(["asked by", "mode", "rows", "refusals", "flagged"], answered),
            f"Students, {seeds} seeds each; AUPRC on val, macro over its sources and pooled; 95 % "
            "intervals of a bootstrap over rows (by source and label) and seeds:",
            table(["student", "rows", "macro", "prompts", "pairs"],
                  [_student(one) for one in result["arms"]]),
            "Above KD, paired by rows: AUPRC, and macro recall at a false-positive rate of 1 % "
            "and 5 %:",
            table(["student", "macro", "prompts", "pairs", "recall at 1 %", "recall at 5 %"],
                  [_above(arm, own) for arm, own in result["above_kd"].items()]),
            "Macro recall:",
            table(["student", "at 1 % false positives", "at 5 %"],
                  [_recalls(one) for one in result["arms"]]),
            "AUPRC by source:",
            _sources(result["arms"]),
            f"Took, without what killed calls took: {taken}.",
        )
    )  # fmt: skip


def draw(result: Mapping[str, Any], path: Path) -> None:
    """How far each arm's AUPRC lies above that of KD, with intervals."""
    arms = list(result["above_kd"])
    picture = figure((7.2, 0.6 * len(arms) + 1.6))
    axes = picture.subplots()
    for index, group in enumerate(GROUPS):
        cells = [result["above_kd"][arm][group]["auprc"] for arm in arms]
        values = [cell["value"] for cell in cells]
        errors = [
            [cell["value"] - cell["low"] for cell in cells],
            [cell["high"] - cell["value"] for cell in cells],
        ]
        places = [place + 0.22 * (index - 1) for place in range(len(arms))]
        axes.errorbar(values, places, xerr=errors, fmt=MARKS[index], color=COLOURS[index],
                      markersize=4, capsize=2, label=group)  # fmt: skip
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(arms)), [ARMS[arm] for arm in arms])
    axes.invert_yaxis()
    axes.set(xlabel="AUPRC on val above KD's, 95 % intervals", title="What more rows are worth")
    axes.grid(alpha=0.25, axis="x")
    axes.set_axisbelow(True)
    picture.legend(loc="outside lower center", ncols=len(GROUPS), frameon=False)
    save(picture, path)


def _reasons(reasons: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {why}" for why, count in reasons.items()) or "none"


def _variety(one: Mapping[str, Any]) -> list[str]:
    own = one["diversity"]

    def grams(side: str) -> str:
        return ", ".join(f"{own[side][f'distinct_{n}'] or 0:.2f}" for n in (1, 2, 3))

    def clusters(side: str) -> str:
        return f"{own['clusters'][side]['effective']:.1f}" if own["clusters"] else "-"

    sides = ("generated", "exemplars")
    return [WAYS[one["way"]], *map(grams, sides), *map(clusters, sides)]


def _student(one: Mapping[str, Any]) -> list[str]:
    figures = [_cell(one["figures"][group]["auprc"]) for group in GROUPS]
    return [ARMS[one["arm"]], str(one["rows"]), *figures]


def _above(arm: str, own: Mapping[str, Any]) -> list[str]:
    cells = [own[group]["auprc"] for group in GROUPS]
    cells += [own[MACRO][name] for name in ("recall_at_fpr_1", "recall_at_fpr_5")]
    return [ARMS[arm], *(_cell(cell, "+") for cell in cells)]


def _recalls(one: Mapping[str, Any]) -> list[str]:
    macro = one["figures"][MACRO]
    return [ARMS[one["arm"]], _cell(macro["recall_at_fpr_1"]), _cell(macro["recall_at_fpr_5"])]


def _sources(arms: list[Mapping[str, Any]]) -> str:
    names = [name for name in arms[0]["figures"] if name not in GROUPS]
    rows = [[name, *(_cell(one["figures"][name]["auprc"]) for one in arms)] for name in names]
    return table(["source", *(ARMS[one["arm"]] for one in arms)], rows)


def _cell(value: Interval, sign: str = "") -> str:
    return f"{value['value']:{sign}.3f} [{value['low']:{sign}.3f}, {value['high']:{sign}.3f}]"
