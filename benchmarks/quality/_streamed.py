"""What is kept of streams, and its tables."""

from __future__ import annotations

from typing import TypedDict

from benchmarks.harness.cells import percent
from benchmarks.harness.results import Share
from harmguard.bench.markdown import table


class Answers(TypedDict):
    """Answers of one label: flagged whole, stopped while they come, and the paired difference."""

    n: int
    flagged_whole: Share
    stopped: Share
    stopped_less_flagged: list[float]


class Whole(TypedDict):
    """Whole answers, each half at the point that was fitted on the other."""

    default: float
    point: float | None
    points_of_halves: list[float | None]
    verdicts: int
    benign: Answers
    harmful: Answers


class Stops(TypedDict):
    """Where streams of splices stop, with one row's prompt."""

    flagged_alone: int
    stopped_of_flagged_alone: Share
    of_them_before_the_harm: Share
    stopped_of_all: Share
    of_all_before_the_harm: Share


class Splices(TypedDict):
    """Splices, with the harmful row's prompt and with the benign's."""

    n: int
    threshold: float
    prompt_of_harmful_row: Stops
    prompt_of_benign_row: Stops


class Dialogue(TypedDict):
    """False alarms with one kind of prompt at one operating point."""

    prompt: str
    point: str
    prompt_flagged: Share
    exchange_flagged: Share


class Cost(TypedDict):
    """The work of one answer."""

    answer_tokens: int
    verdicts: int
    whole_text_scores: float
    seconds: float
    core_share_at_30_tokens_a_second: float


class Together(TypedDict):
    """Many streams in one process."""

    streams: int
    bytes_each_with_text: float
    text_bytes: int
    bytes_left_after_closing: float
    median_wait_s: float
    longest_wait_s: float
    longest_over_median: float


class Streaming(TypedDict):
    """The raw result."""

    whole: Whole
    splices: Splices
    dialogues: list[Dialogue]
    cost: list[Cost]
    cost_of_val: dict[str, float]
    together: Together


def tables(result: Streaming) -> str:
    """Whom streams stop, splices, work, and dialogues."""
    whole, spliced = result["whole"], result["splices"]
    points = ", ".join(f"{value:.4f}" for value in whole["points_of_halves"])
    answers = table(
        ["answers", "n", "flagged whole", "stopped while they come", "difference, points"],
        [
            [
                name,
                str(own["n"]),
                percent(own["flagged_whole"]),
                percent(own["stopped"]),
                "{:+.1f} ({:+.1f} to {:+.1f})".format(
                    *(100 * value for value in own["stopped_less_flagged"])
                ),
            ]
            for name, own in (("benign", whole["benign"]), ("harmful", whole["harmful"]))
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
            for whose, one in (
                ("harmful", spliced["prompt_of_harmful_row"]),
                ("benign", spliced["prompt_of_benign_row"]),
            )
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
                    f"{part['count']} of {part['n']} ({percent(part)})"
                    for part in (one["prompt_flagged"], one["exchange_flagged"])
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
