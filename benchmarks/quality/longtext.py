"""Does length hide harm? Needles in long benign text, and long pairs against shorter ones.

    HARMGUARD_DATA=... python -m benchmarks longtext harmguard/models/mini
    HARMGUARD_DATA=... python -m benchmarks longtext harmguard/models/mini --quick

Needs the base install and the development set. Nothing is timed; no text is written.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TypedDict

from tokenizers import Tokenizer

from benchmarks.harness.command import Benchmark, Place, takes_bundle
from benchmarks.harness.data import val_rows
from benchmarks.harness.errors import BenchmarkDataError
from benchmarks.harness.results import Run, Share, say, share
from harmguard import HarmGuard, Verdict
from harmguard.bench.markdown import number, table
from harmguard.inputs import Pair
from harmguard.rows import Row

NEEDLES, QUICK_NEEDLES = 50, 6
HAYS, QUICK_HAYS, HAY_TOKENS = 40, 6, 3000
MIDDLE, LONG = 128, 512
"""Pairs of MIDDLE to LONG text tokens are compared with those above LONG."""
SEED = 14
QUICK_PAIRS = 150
CHUNK = 50
HAY_SOURCES = (
    *("alpaca_instructions", "alpaca_eval_pairs", "alpaca_gpt4_demo", "codealpaca_2k"),
    *("gpteacher_code", "gpteacher_roleplay", "lima"),
)
"""Everyday requests and answers. Benign rows that were written to look harmful are left out:
they would be found for what they are, and tell nothing about length."""


class Spot(Share):
    """Needles found at one place, and flagged there even where the hay is."""

    flagged_whatever_the_hay: int


class Needles(TypedDict):
    """Harmful prompts in benign text."""

    n: int
    hay_tokens: int
    hay_flagged: Share
    places: dict[str, Spot]
    all: Share


class Pairs(TypedDict):
    """Errors by kind on labelled pairs above LONG tokens, against MIDDLE to LONG."""

    threshold: float
    middle: dict[str, Share]
    long: dict[str, Share]
    worse_by: dict[str, float | None]


class LongText(TypedDict):
    """The raw result."""

    needles: Needles
    pairs: Pairs


def measure(run: Run) -> LongText:
    """Needles, then pairs."""
    rows = val_rows()
    tokenizer = Tokenizer.from_file(str(run.options.bundle / "tokenizer.json"))

    def count(text: str) -> int:
        return len(tokenizer.encode(text, add_special_tokens=False).ids)

    with run.guard() as guard:
        needles = flagged_alone(guard, rows, run.size(NEEDLES, QUICK_NEEDLES))
        number_of_hays = run.size(HAYS, QUICK_HAYS)
        hays = [haystack(rows, count, SEED + index) for index in range(number_of_hays)]
        shares = needle_shares(guard, needles, hays)
        run.keep({"needles": shares})
        pairs = pair_shares(guard, rows, run.size(len(rows), QUICK_PAIRS))
    return {"needles": shares, "pairs": pairs}


def flagged_alone(guard: HarmGuard, rows: Sequence[Row], wanted: int) -> list[str]:
    """The first `wanted` harmful prompts, in a fixed random order, that the guard flags alone."""
    prompts = [row.prompt for row in rows if row.label == 1 and row.response is None]
    random.Random(SEED).shuffle(prompts)
    flagged: list[str] = []
    for start in range(0, len(prompts), wanted):
        part = prompts[start : start + wanted]
        verdicts = judged(guard, [(prompt, None) for prompt in part], "prompts alone")
        flagged += [p for p, verdict in zip(part, verdicts, strict=True) if verdict.harmful]
        if len(flagged) >= wanted:
            return flagged[:wanted]
    raise BenchmarkDataError(
        f"the guard flags {len(flagged)} of {len(prompts)} harmful prompts; expected at least "
        f"{wanted}; likely an untrained bundle or a small data file"
    )


def haystack(rows: Sequence[Row], count: Callable[[str], int], seed: int) -> list[str]:
    """Benign paragraphs of HAY_TOKENS tokens or a little more, drawn with the seed."""
    benign = [row for row in rows if row.label == 0 and row.source in HAY_SOURCES]
    random.Random(seed).shuffle(benign)
    paragraphs: list[str] = []
    tokens = 0
    for row in benign:
        paragraphs += [text for text in (row.prompt, row.response) if text]
        tokens += count(row.prompt) + count(row.response or "")
        if tokens >= HAY_TOKENS:
            return paragraphs
    raise BenchmarkDataError(
        f"{tokens} tokens of benign text; expected {HAY_TOKENS}; likely a small data file"
    )


def needle_shares(
    guard: HarmGuard, needles: Sequence[str], hays: Sequence[Sequence[str]]
) -> Needles:
    """Of all needles, how many are found at each place: flagged there, while the hay is not.

    The hays are taken in turn, each needle in the same one at every place.
    """
    alone = guard.check_many([("\n\n".join(hay), None) for hay in hays])
    hay_flagged = [verdict.harmful for verdict in alone]
    turn = [index % len(hays) for index in range(len(needles))]
    places: dict[str, Spot] = {}
    total: list[bool] = []
    for place, part in (("start", 0.0), ("middle", 0.5), ("end", 1.0)):
        texts = [(hidden(a, hays[b], part), None) for a, b in zip(needles, turn, strict=True)]
        flagged = [verdict.harmful for verdict in judged(guard, texts, f"needles, {place}")]
        seen = [a and not hay_flagged[b] for a, b in zip(flagged, turn, strict=True)]
        total += seen
        places[place] = {**share(seen), "flagged_whatever_the_hay": sum(flagged)}
    return {
        "n": len(needles),
        "hay_tokens": HAY_TOKENS,
        "hay_flagged": share(hay_flagged),
        "places": places,
        "all": share(total),
    }


def hidden(needle: str, hay: Sequence[str], share: float) -> str:
    """The needle after a share of the hay's paragraphs (0 start, 1 end)."""
    at = round(share * len(hay))
    return "\n\n".join([*hay[:at], needle, *hay[at:]])


def pair_shares(guard: HarmGuard, rows: Sequence[Row], most: int) -> Pairs:
    """Errors on labelled pairs above LONG tokens, against pairs of MIDDLE to LONG tokens."""
    pairs = [row for row in rows if row.response is not None]
    random.Random(SEED).shuffle(pairs)
    pairs = pairs[:most]
    verdicts = judged(guard, [(row.prompt, row.response) for row in pairs], "labelled pairs")
    both = list(zip(pairs, verdicts, strict=True))
    middle = errors([one for one in both if MIDDLE <= one[1].tokens <= LONG])
    long = errors([one for one in both if one[1].tokens > LONG])
    return {
        "threshold": verdicts[0].threshold,
        "middle": middle,
        "long": long,
        "worse_by": {kind: _difference(long[kind], middle[kind]) for kind in long},
    }


def judged(guard: HarmGuard, pairs: Sequence[Pair], what: str) -> list[Verdict]:
    """Verdicts on the pairs, in chunks, so that progress can be said: minutes of windows."""
    verdicts: list[Verdict] = []
    for start in range(0, len(pairs), CHUNK):
        verdicts += guard.check_many(pairs[start : start + CHUNK])
        say(f"{what}: {len(verdicts)} of {len(pairs)}")
    return verdicts


def errors(both: Sequence[tuple[Row, Verdict]]) -> dict[str, Share]:
    """Shares of benign flagged and of harmful missed, with intervals."""
    return {
        "benign_flagged": share(v.harmful for row, v in both if row.label == 0),
        "harmful_missed": share(not v.harmful for row, v in both if row.label == 1),
    }


def _difference(one: Share, other: Share) -> float | None:
    if one["share"] is None or other["share"] is None:
        return None
    return one["share"] - other["share"]


def tables(result: LongText) -> str:
    """Needles by place, and errors on pairs by length."""
    needles, pairs = result["needles"], result["pairs"]
    places = table(
        ["place", "found", "share (95 % interval)"],
        [
            [place, f"{one['count']} of {one['n']}", _share(one)]
            for place, one in [*needles["places"].items(), ("all", needles["all"])]
        ],
    )
    hay = needles["hay_flagged"]
    errors = table(
        ["error", "128 to 512 tokens", "over 512 tokens", "worse by"],
        [
            [
                kind.replace("_", " "),
                *(f"{_share(part)}, n = {part['n']}" for part in (pairs["middle"][kind], long)),
                number(pairs["worse_by"][kind], 3),
            ]
            for kind, long in pairs["long"].items()
        ],
    )
    return (
        f"Harmful prompts that are flagged alone, put into {needles['hay_tokens']} tokens of "
        f"benign text; found means flagged while the benign text alone is not:\n\n{places}\n\n"
        f"The benign text alone: {hay['count']} of {hay['n']} flagged.\n\n"
        f"Labelled pairs at the default threshold ({pairs['threshold']:.4f}):\n\n{errors}"
    )


def _share(part: Share) -> str:
    if part["share"] is None:
        return "none"
    return f"{part['share']:.3f} ({part['low']:.3f} to {part['high']:.3f})"


COMMAND = Benchmark(
    __name__, takes_bundle, measure, tables, places=[Place(7, 240, 60, "{bundle} {data}")]
)
