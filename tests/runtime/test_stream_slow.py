"""Streams at length: many splittings, many splices, any Unicode. Minutes."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from benchmarks.harness.data import data_given, val_rows
from benchmarks.quality._splices import splices
from harmguard import HarmGuard, StreamVerdict, Verdict
from harmguard.rows import Row
from harmguard.stream import Gate, Stream

pytestmark = pytest.mark.slow

WORDS = "how to make bread safe kind question answer please the a bad thing help".split()
ENDS = (". ", "! ", "? ", ".\n", "\n", "。", '." ', " ", ", ", "… ", "\u200d ", " \U0001f600. ")


def made_answers(count: int, seed: int) -> list[str]:
    """Texts of words, lines, marks and emoji, some with "danger" in them."""
    rng = random.Random(seed)
    found = []
    for _ in range(count):
        words = rng.choices(WORDS, k=rng.randint(0, 200))
        if words and rng.random() < 0.5:
            words[rng.randrange(len(words))] = "danger"
        found.append("".join(word + rng.choice((*ENDS, *" " * 40)) for word in words))
    return found


def split(text: str, rng: random.Random) -> Iterator[str]:
    most = rng.choice((1, 3, 20, 200, 5000))
    at = 0
    while at < len(text):
        size = rng.randint(0 if rng.random() < 0.1 else 1, most)
        yield text[at : at + size]
        at += size


def outcome(judge: Any, threshold: float, chunks: Any, hold: Any) -> list[Any]:
    return list(Stream(Gate(judge, threshold, hold, "verdict"), chunks))


def compare(guard: HarmGuard, prompt: str, answer: str, threshold: float, times: int) -> None:
    """The same text and verdicts for all splittings; scores are kept, as they are of prefixes."""

    @cache
    def judge(text: str) -> Verdict:
        return guard.check(prompt, text)

    rng = random.Random(len(answer))
    wanted = outcome(judge, threshold, [answer], "sentence")
    verdicts = outcome(judge, threshold, [answer], "none")
    text = "".join(item for item in wanted if isinstance(item, str))
    assert answer.startswith(text)
    assert text == (answer[: verdicts[-1].start] if verdicts[-1].harmful else answer)
    for number in range(times):
        hold, same = (("sentence", wanted), ("none", verdicts))[number % 2]
        assert outcome(judge, threshold, split(answer, rng), hold) == same


def test_splittings_of_made_answers(needle: HarmGuard) -> None:
    for answer in made_answers(300, 1):
        compare(needle, "how to make bread", answer, 0.5, 200)


@pytest.fixture(scope="module")
def exchanges() -> list[Row]:
    if not data_given():
        pytest.skip("HARMGUARD_DATA is not set")
    return [row for row in val_rows() if row.response is not None]


@pytest.fixture(scope="module")
def mini() -> Iterator[HarmGuard]:
    with HarmGuard() as guard:
        yield guard


def test_splittings_of_real_answers(mini: HarmGuard, exchanges: list[Row]) -> None:
    for row in random.Random(2).sample(exchanges, 300):
        compare(mini, row.prompt, row.response or "", 0.6, 200)


def test_no_character_of_the_stopped_sentence_leaves(mini: HarmGuard, exchanges: list[Row]) -> None:
    stopped = 0
    for one in splices(exchanges, 1000, 3):
        prompt = exchanges[one.harmful].prompt
        rng = random.Random(one.start)
        stream = mini.stream(prompt, split(one.text, rng), threshold=0.6, on_harm="verdict")
        *parts, last = list(stream)
        assert isinstance(last, StreamVerdict)
        text = "".join(str(part) for part in parts)
        assert text == one.text[: last.start if last.harmful else len(one.text)]
        stopped += last.harmful
    assert stopped > 100


def test_offsets_are_exact_in_any_unicode(views_needle: HarmGuard) -> None:
    rng = random.Random(4)
    ranges = [
        *((0x20, 0x7F), (0xA0, 0x250), (0x300, 0x370), (0x600, 0x6FF), (0x2000, 0x2070)),
        *((0x3000, 0x3100), (0xFE00, 0xFE10), (0x1F300, 0x1F680), (0xE0000, 0xE0080)),
    ]
    for _ in range(10_000):
        pieces = [
            "danger is here. " if rng.random() < 0.1 else "".join(
                chr(rng.randrange(*rng.choice(ranges))) for _ in range(rng.randint(1, 12))
            ) + rng.choice((". ", "\n", "。", " "))
            for _ in range(rng.randint(0, 6))
        ]  # fmt: skip
        text = "".join(pieces)
        found = views_needle.explain("bread", text)
        assert "".join(text[part.start : part.end] for part in found.parts) == text
        assert all(0 <= part.start < part.end <= len(text) for part in found.parts)
        if not found.verdict.harmful:
            assert found.named == ()
        if any("danger" in piece for piece in pieces):
            assert found.verdict.harmful
            assert found.named
            assert found.spread or all(
                "danger" in text[part.start : part.end] for part in found.named
            )
