"""Does length hide harm? Needles in long benign text, and long pairs against shorter ones.

    HARMGUARD_DATA=... python -m benchmarks longtext harmguard/models/mini
    HARMGUARD_DATA=... python -m benchmarks longtext harmguard/models/mini --quick

Needs the base install and the development set. Nothing is timed; no text is written.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from tokenizers import Tokenizer

from benchmarks.harness import _tables
from benchmarks.harness import results as _results
from benchmarks.harness.data import val_rows
from benchmarks.harness.errors import BenchmarkDataError
from harmguard import HarmGuard, Verdict
from harmguard.bench import stats
from harmguard.inputs import Pair
from harmguard.rows import Row

NEEDLES, QUICK_NEEDLES = 50, 6
HAYS, HAY_TOKENS = 10, 3000
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write the raw JSON, print the table."""
    about = "Share of harmful prompts still flagged in long benign text."
    options = _results.parser("longtext", about, checkpoint=False).parse_args(arguments)
    result = _results.begin("longtext", options)
    rows = val_rows()
    tokenizer = Tokenizer.from_file(str(options.bundle / "tokenizer.json"))

    def count(text: str) -> int:
        return len(tokenizer.encode(text, add_special_tokens=False).ids)

    with HarmGuard(options.bundle, threads=options.threads) as guard:
        wanted = QUICK_NEEDLES if options.quick else NEEDLES
        needles = flagged_alone(guard, rows, wanted)
        hays = [haystack(rows, count, SEED + index) for index in range(HAYS)]
        result["needles"] = needle_shares(guard, needles, hays)
        _results.keep(result, options)
        result["pairs"] = pair_shares(guard, rows, QUICK_PAIRS if options.quick else len(rows))
    _results.finish(result, options)
    print(_tables.longtext(result))
    return 0


def flagged_alone(guard: HarmGuard, rows: Sequence[Row], wanted: int) -> list[str]:
    """The first `wanted` harmful prompts, in a fixed random order, that the guard flags alone."""
    prompts = [row.prompt for row in rows if row.label == 1 and row.response is None]
    random.Random(SEED).shuffle(prompts)
    found: list[str] = []
    for start in range(0, len(prompts), wanted):
        part = prompts[start : start + wanted]
        verdicts = judged(guard, [(prompt, None) for prompt in part], "prompts alone")
        found += [prompt for prompt, verdict in zip(part, verdicts, strict=True) if verdict.harmful]
        if len(found) >= wanted:
            return found[:wanted]
    raise BenchmarkDataError(
        f"the guard flags {len(found)} of {len(prompts)} harmful prompts; expected at least "
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
) -> dict[str, Any]:
    """Of all needles, how many are found at each place: flagged there, while the hay is not.

    The hays are taken in turn, each needle in the same one at every place.
    """
    alone = guard.check_many([("\n\n".join(hay), None) for hay in hays])
    hay_flagged = [verdict.harmful for verdict in alone]
    turn = [index % len(hays) for index in range(len(needles))]
    places: dict[str, Any] = {}
    total = 0
    for place, share in (("start", 0.0), ("middle", 0.5), ("end", 1.0)):
        texts = [(hidden(a, hays[b], share), None) for a, b in zip(needles, turn, strict=True)]
        flagged = [verdict.harmful for verdict in judged(guard, texts, f"needles, {place}")]
        found = sum(a and not hay_flagged[b] for a, b in zip(flagged, turn, strict=True))
        total += found
        places[place] = asdict(stats.wilson(found, len(needles)))
        places[place]["flagged_whatever_the_hay"] = sum(flagged)
    return {
        "n": len(needles),
        "hay_tokens": HAY_TOKENS,
        "hay_flagged": asdict(stats.wilson(sum(hay_flagged), len(hays))),
        "places": places,
        "all": asdict(stats.wilson(total, 3 * len(needles))),
    }


def hidden(needle: str, hay: Sequence[str], share: float) -> str:
    """The needle after a share of the hay's paragraphs (0 start, 1 end)."""
    at = round(share * len(hay))
    return "\n\n".join([*hay[:at], needle, *hay[at:]])


def pair_shares(guard: HarmGuard, rows: Sequence[Row], most: int) -> dict[str, Any]:
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
        _results.say(f"{what}: {len(verdicts)} of {len(pairs)}")
    return verdicts


def errors(both: Sequence[tuple[Row, Verdict]]) -> dict[str, Any]:
    """Shares of benign flagged and of harmful missed, with intervals."""
    benign = [verdict.harmful for row, verdict in both if row.label == 0]
    harmful = [not verdict.harmful for row, verdict in both if row.label == 1]
    return {
        "benign_flagged": asdict(stats.wilson(sum(benign), len(benign))),
        "harmful_missed": asdict(stats.wilson(sum(harmful), len(harmful))),
    }


def _difference(one: dict[str, Any], other: dict[str, Any]) -> float | None:
    if one["share"] is None or other["share"] is None:
        return None
    return float(one["share"]) - float(other["share"])


if __name__ == "__main__":
    raise SystemExit(_results.guarded(main))
