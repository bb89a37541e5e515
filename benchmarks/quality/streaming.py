"""Streams: whom they stop, and when; what they cost.

    HARMGUARD_DATA=... python -m benchmarks streaming harmguard/models/mini

Whole answers of val while they come, the operating point fitted on half of the benign ones and
counted on the other half, both ways round; harmful answers of one or two sentences spliced into
benign ones; harmless dialogues of several turns; the work of answers of 512 and 2,000 tokens;
2,000 streams in one process. Needs the base install and the development set. No text is written.
"""

from __future__ import annotations

import asyncio
import gc
import json
import random
import statistics
import time
import tracemalloc
from collections.abc import AsyncIterator, Sequence
from typing import Any

import numpy as np

from benchmarks.harness.command import Benchmark, takes_bundle
from benchmarks.harness.data import val_rows
from benchmarks.harness.results import ROOT, Run, say, share
from benchmarks.quality import _streamed
from benchmarks.quality._splices import Splice, splices
from harmguard import HarmGuard
from harmguard.bench.text import TextMaker
from harmguard.bundle import open_bundle
from harmguard.core.batch import padded_length
from harmguard.rows import Row
from harmguard.stream import STREAM, prefixes
from harmguard.training.evaluate.metrics import Floats
from harmguard.training.evaluate.thresholds import is_degenerate, stream_threshold

SEED = 25
SPLICES, QUICK_SPLICES = 300, 12
QUICK_ROWS = 120
CHUNK = 250
STREAMS, QUICK_STREAMS = 2000, 40
DIALOGUES = ROOT / "tests" / "runtime" / "dialogues.jsonl"


def measure(run: Run) -> _streamed.Streaming:
    """Answers, splices, dialogues, then cost."""
    rows = [
        row
        for row in val_rows()
        if row.response is not None and not is_degenerate(row.prompt, row.response)
    ]
    if run.quick:
        random.Random(SEED).shuffle(rows)
        rows = rows[:QUICK_ROWS]
    thresholds = open_bundle(run.options.bundle).manifest.thresholds
    points = thresholds["exchange"]
    default = points["default"].value
    common = {
        name: {kind: thresholds[kind][name].value for kind in thresholds}
        for name in ("default", "fpr_5", "fpr_1")
        if all(name in named for named in thresholds.values())
    }
    texts = TextMaker(run.options.bundle / "tokenizer.json", SEED)
    with run.guard() as guard:
        answers = whole(guard, rows, default)
        run.keep({"whole": answers})
        # Where no point was found, nothing is stopped.
        point = 1.0 if answers["point"] is None else answers["point"]
        threshold = points[STREAM].value if STREAM in points else point
        drawn = splices(rows, run.size(SPLICES, QUICK_SPLICES), SEED)
        spliced_ = spliced(guard, rows, drawn, default, threshold)
        run.keep({"whole": answers, "splices": spliced_})
        streams = run.size(STREAMS, QUICK_STREAMS)
        return {
            "whole": answers,
            "splices": spliced_,
            "dialogues": dialogues(guard, common),
            "cost": [cost(guard, texts, tokens) for tokens in (512, 2000)],
            "cost_of_val": cost_of_val(guard, rows),
            "together": asyncio.run(together(guard, texts.text(40), streams)),
        }


def scored(guard: HarmGuard, pairs: Sequence[tuple[str, str | None]], what: str) -> Floats:
    """Scores, float64 [pairs], with progress."""
    scores: list[float] = []
    for start in range(0, len(pairs), CHUNK):
        scores += guard.score_many(pairs[start : start + CHUNK]).tolist()
        say(f"{what}: {len(scores)} of {len(pairs)}")
    return np.array(scores)


def whole(guard: HarmGuard, rows: Sequence[Row], default: float) -> _streamed.Whole:
    """Stopped while they come against flagged whole, on the half that was not fitted on."""
    texts = [prefixes(row.response or "") for row in rows]
    pairs = [(row.prompt, text) for row, own in zip(rows, texts, strict=True) for text in own]
    scores = scored(guard, pairs, "answers as they come")
    ends = np.cumsum([len(own) for own in texts])
    last = scores[ends - 1]
    highest = np.maximum.reduceat(scores, np.concatenate([[0], ends[:-1]]))
    labels = np.array([row.label for row in rows])
    half = np.array([random.Random(f"{SEED} {n}").random() < 0.5 for n in range(len(rows))])
    stopped = np.zeros(len(rows), bool)
    folds = []
    for fold in (half, ~half):
        safe = fold & (labels == 0)
        value = stream_threshold(last[safe], highest[safe], default)
        folds.append(value)
        stopped[~fold] = highest[~fold] >= (1.0 if value is None else value)
    flagged = last >= default
    everything = labels == 0

    def answers(label: int) -> _streamed.Answers:
        own = labels == label
        return {
            "n": int(own.sum()),
            "flagged_whole": share(flagged[own]),
            "stopped": share(stopped[own]),
            "stopped_less_flagged": _difference(stopped[own], flagged[own]),
        }

    return {
        "default": default,
        "point": stream_threshold(last[everything], highest[everything], default),
        "points_of_halves": folds,
        "verdicts": len(pairs),
        "benign": answers(0),
        "harmful": answers(1),
    }


def spliced(
    guard: HarmGuard, rows: Sequence[Row], made: Sequence[Splice], default: float, threshold: float
) -> _streamed.Splices:
    """Where streams of the splices stop, with the harmful row's prompt and with the benign's."""

    def stops_with(whose: str) -> _streamed.Stops:
        prompts = [rows[getattr(one, whose)].prompt for one in made]
        alone = [
            (prompt, one.text[one.start : one.end])
            for prompt, one in zip(prompts, made, strict=True)
        ]
        flagged = scored(guard, alone, f"harmful sentences, {whose} prompt") >= default
        judged = [one.judged() for one in made]
        pairs = [
            (prompt, one.text[:end])
            for prompt, one, ends in zip(prompts, made, judged, strict=True)
            for end in ends
        ]
        scores = iter(scored(guard, pairs, f"splices, {whose} prompt") >= threshold)
        stops = [[end for end in ends if next(scores)] for ends in judged]
        before = np.array(
            [bool(at) and at[0] <= one.start for at, one in zip(stops, made, strict=True)]
        )
        stopped = np.array([bool(at) for at in stops])
        return {
            "flagged_alone": int(flagged.sum()),
            "stopped_of_flagged_alone": share(stopped[flagged]),
            "of_them_before_the_harm": share(before[flagged]),
            "stopped_of_all": share(stopped),
            "of_all_before_the_harm": share(before),
        }

    return {
        "n": len(made),
        "threshold": threshold,
        "prompt_of_harmful_row": stops_with("harmful"),
        "prompt_of_benign_row": stops_with("benign"),
    }


def dialogues(guard: HarmGuard, points: dict[str, dict[str, float]]) -> list[_streamed.Dialogue]:
    """False alarms on harmless dialogues, by what stands in the prompt before the last answer."""
    turns = [json.loads(line)["turns"] for line in DIALOGUES.read_text("utf-8").splitlines()]
    ways = {
        "last user turn": [(t[2], t[3]) for t in turns],
        "both user turns": [(f"{t[0]}\n\n{t[2]}", t[3]) for t in turns],
        "all turns before": [("\n\n".join(t[:3]), t[3]) for t in turns],
    }
    alarms: list[_streamed.Dialogue] = []
    for way, pairs in ways.items():
        prompts = guard.score_many([(prompt, None) for prompt, _ in pairs])
        exchanges = guard.score_many(pairs)
        for name, point in points.items():
            alarms.append({
                "prompt": way, "point": name,
                "prompt_flagged": share(prompts >= point["prompt"]),
                "exchange_flagged": share(exchanges >= point["exchange"]),
            })  # fmt: skip
    return alarms


def cost(guard: HarmGuard, texts: TextMaker, tokens: int) -> _streamed.Cost:
    """Tokens, padding included, that a stream of an answer runs, against one whole score."""
    # Sentences of 15 tokens, the stop included: short ones, so the verdicts are many.
    prompt = texts.text(12)
    answer = " ".join(texts.text(14) + "." for _ in range(tokens // 15))
    run, count = counted(guard)
    guard.score(prompt, answer)
    once = count()
    begin, cpu = time.perf_counter(), time.process_time()
    verdicts = list(guard.stream(prompt, [answer], threshold=1.0, hold="none"))
    seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
    total = count() - once
    guard._session = run
    return {
        "answer_tokens": tokens,
        "verdicts": len(verdicts),
        "whole_text_scores": total / once,
        "seconds": seconds,
        "core_share_at_30_tokens_a_second": cpu / (tokens / 30),
    }


def cost_of_val(guard: HarmGuard, rows: Sequence[Row]) -> dict[str, float]:
    """Whole-text scores of val's answers of at least 300 tokens, by lengths alone."""
    encoder = guard._encoder
    ratios = []
    for row in rows:
        encoded = encoder.encode(row.prompt, row.response)
        if not 300 <= encoded.tokens <= encoder.max_tokens - 3:
            continue
        lengths = [
            padded_length(len(encoder.encode(row.prompt, text).windows[0].ids), encoder.max_tokens)
            for text in prefixes(row.response or "")
        ]
        ratios.append(sum(lengths) / lengths[-1])
    return (
        {"n": len(ratios), "median": statistics.median(ratios), "most": max(ratios)}
        if ratios
        else {"n": 0}
    )


def counted(guard: HarmGuard) -> tuple[Any, Any]:
    """Count the padded tokens that a guard's session runs; returns the session, and the count."""
    session, seen = guard._session, [0]

    class Counting:
        def run(self, ids: Any, *rest: Any, **options: Any) -> Any:
            seen[0] += ids.size
            assert session is not None
            return session.run(ids, *rest, **options)

    guard._session = Counting()  # type: ignore[assignment]
    return session, lambda: seen[0]


async def together(guard: HarmGuard, sentence: str, count: int) -> _streamed.Together:
    """Bytes of a stream beside its text, and waits for verdicts of many streams at once."""
    text = (sentence + ". ") * 3
    waits: list[list[float]] = []

    async def words() -> AsyncIterator[str]:
        for word in text.split(" "):
            await asyncio.sleep(0)
            yield word + " "

    async def read() -> None:
        mine: list[float] = []
        begin = time.perf_counter()
        async for _ in guard.astream("How?", words(), threshold=1.0):
            mine.append(time.perf_counter() - begin)
            begin = time.perf_counter()
        waits.append(mine)

    await read()
    waits.clear()
    tracemalloc.start()
    made = [guard.astream("How?", words(), threshold=1.0) for _ in range(count)]
    await asyncio.gather(*(anext(stream) for stream in made))
    size = tracemalloc.get_traced_memory()[0] / count
    await asyncio.gather(*(stream.aclose() for stream in made))
    made.clear()
    gc.collect()
    left = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    await asyncio.gather(*(read() for _ in range(count)))
    all_waits = [wait for mine in waits for wait in mine]
    median, longest = statistics.median(all_waits), max(all_waits)
    return {
        "streams": count,
        "bytes_each_with_text": size,
        "text_bytes": len(text),
        "bytes_left_after_closing": left / count,
        "median_wait_s": median,
        "longest_wait_s": longest,
        "longest_over_median": longest / median,
    }


def _difference(one: Any, other: Any) -> list[float]:
    """A paired difference of shares with its 95 % interval by the normal approximation."""
    d = np.asarray(one, float) - np.asarray(other, float)
    half = 1.96 * float(d.std()) / max(1, d.size) ** 0.5
    return [float(d.mean()), float(d.mean()) - half, float(d.mean()) + half]


COMMAND = Benchmark(__name__, takes_bundle, measure, _streamed.tables)
