"""The tables of docs/streaming.md and docs/explain.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harmguard.bench.markdown import table


def streaming(result: Mapping[str, Any]) -> str:
    """Whom streams stop, splices, work, and dialogues."""
    whole, spliced = result["whole"], result["splices"]
    points = ", ".join(f"{value:.4f}" for value in whole["points_of_halves"])
    answers = table(
        ["answers", "n", "flagged whole", "stopped while they come", "difference, points"],
        [
            [
                name,
                str(whole[name]["n"]),
                percent(whole[name]["flagged_whole"]),
                percent(whole[name]["stopped"]),
                "{:+.1f} ({:+.1f} to {:+.1f})".format(
                    *(100 * value for value in whole[name]["stopped_less_flagged"])
                ),
            ]
            for name in ("benign", "harmful")
        ],
    )
    splices = table(
        ["prompt", "flagged alone", "of them stopped", "before the harm", "of all stopped"],
        [
            [
                f"the {whose} row's",
                f"{one['flagged_alone']} of {spliced['n']}",
                percent(one["stopped_of_flagged_alone"]),
                percent(one["of_them_before_the_harm"]),
                percent(one["stopped_of_all"]),
            ]
            for whose in ("harmful", "benign")
            for one in [spliced[f"prompt_of_{whose}_row"]]
        ],
    )
    work = table(
        ["answer", "verdicts", "whole-text scores"],
        [
            *(
                [
                    f"{one['answer_tokens']} tokens",
                    str(one["verdicts"]),
                    f"{one['whole_text_scores']:.1f}",
                ]
                for one in result["cost"]
            ),
            [
                f"val's of 300 to 509 tokens, n = {result['cost_of_val']['n']}",
                "",
                "{median:.1f}, at most {most:.1f}".format(**result["cost_of_val"]),
            ],
        ],
    )
    dialogues = table(
        ["in the prompt", "operating point", "prompt flagged", "exchange flagged"],
        [
            [
                one["prompt"],
                one["point"],
                *(
                    f"{one[key]['count']} of {one[key]['n']} ({percent(one[key])})"
                    for key in ("prompt_flagged", "exchange_flagged")
                ),
            ]
            for one in result["dialogues"]
        ],
    )
    many = result["together"]
    return (
        "**Whole answers.** Benign ones are counted at the point fitted on the other half "
        f"({points}; on all {whole['point']:.4f}):\n\n{answers}\n\n"
        f"**Splices**, at {spliced['threshold']:.4f}:\n\n{splices}\n\n"
        f"**Work**:\n\n{work}\n\n"
        f"{many['streams']:,} streams at once in one process: {many['bytes_each_with_text']:,.0f} "
        f"bytes each, with a text of {many['text_bytes']}; the longest wait for a verdict was "
        f"{many['longest_over_median']:.1f} times the median.\n\n"
        f"**Dialogues**, last turns:\n\n{dialogues}"
    )


def explaining(result: Mapping[str, Any]) -> str:
    """How often the right sentence is named first."""
    planted, natural = result["planted"], result["natural"]
    ways = ("explain", "sentence alone", "leave one out")
    first = table(
        ["texts", "n", *ways, "chance"],
        [
            [
                name,
                str(planted[name]["n"]),
                *(percent(planted[name][way]) for way in ways),
                f"{planted[name]['chance']:.0%}",
            ]
            for name in ("flagged", "flagged only with it")
        ],
    )
    removed = table(
        ["of flagged harmful answers", "share"],
        [
            [name, f"{percent(natural[key])}, n = {natural[key]['n']}"]
            for name, key in (
                ("no single sentence's removal lets it pass", "no_single_removal_passes"),
                ("said to be spread", "said_to_be_spread"),
                ("else: passes without the one named first", "named_removed_passes"),
                ("else: passes without a random other one", "random_other_removed_passes"),
            )
        ],
    )
    return (
        f"A harmful sentence planted among 2 to 12 of a benign answer ({planted['candidates']:,} "
        f"texts), named first:\n\n{first}\n\n{removed}"
    )


def percent(one: Mapping[str, Any]) -> str:
    """A share with its interval."""
    if one["share"] is None:
        return "-"
    return f"{one['share']:.1%} ({one['low']:.1%} to {one['high']:.1%})"
