from __future__ import annotations

import asyncio
import gc
import pickle
import random
import threading
import tracemalloc
import weakref
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harmguard import (
    GuardClosedError,
    HarmfulStreamError,
    HarmGuard,
    HarmGuardError,
    InputError,
    StreamVerdict,
)
from harmguard.errors import (
    InputTypeError,
    InvalidTextError,
    MissingStreamPointError,
    TextTooLongError,
    UnknownThresholdError,
)
from harmguard.stream import prefixes

SAFE = "the bread is safe and kind please make the bread how to make the kind bread please "
SAFE += "make a safe bread the kind answer is please. how is a safe and kind question made please "
SAFE += "is the bread safe and how to make the kind answer, and make the bread please. "
BAD = "the danger is here. "
ANSWER = SAFE * 3 + BAD + SAFE * 2


def pieces(text: str, sizes: random.Random | int) -> Iterator[str]:
    at = 0
    while at < len(text):
        size = sizes if isinstance(sizes, int) else sizes.choice((0, 1, 2, 7, 50, 400))
        yield text[at : at + size]
        at += size


def run(guard: HarmGuard, answer: str, sizes: Any = 5, **options: Any) -> list[Any]:
    options = {"threshold": 0.5, "on_harm": "verdict", **options}
    return list(guard.stream("how to make bread", pieces(answer, sizes), **options))


@pytest.mark.parametrize("size", [1, 5, 10_000])
def test_a_harmless_answer_comes_out_as_it_went_in(needle: HarmGuard, size: int) -> None:
    stream = needle.stream("how to make bread", pieces(SAFE * 4, size), threshold=0.5)
    parts = list(stream)
    assert len(parts) > 2
    assert "".join(parts) == SAFE * 4
    assert stream.verdict is not None
    assert stream.verdict.end == len(SAFE * 4)


def test_the_final_verdict_is_checks_but_for_the_threshold(any_guard: HarmGuard) -> None:
    for answer in (SAFE * 4, SAFE * 12 + "no end", "", "short", "\n\n"):
        *_, last = run(any_guard, answer, threshold=0.999)
        whole = any_guard.check("how to make bread", answer)
        assert isinstance(last, StreamVerdict)
        for name in ("score", "tokens", "windows", "guard"):
            assert getattr(last, name) == getattr(whole, name), name
        assert (last.threshold, last.harmful) == (0.999, False)


def test_nothing_of_the_harmful_sentence_goes_out(needle: HarmGuard) -> None:
    out: list[str] = []
    stream = needle.stream("how to make bread", pieces(ANSWER, 3), threshold=0.5)
    with pytest.raises(
        HarmfulStreamError, match=r"harmful up to character [0-9,]+ .*held back"
    ) as got:
        out.extend(stream)
    text = "".join(out)
    assert ANSWER.startswith(text)
    assert "danger" not in text
    assert got.value.position == len(text)
    verdict = got.value.verdict
    assert ANSWER.index("danger") < verdict.end <= len(ANSWER)
    assert verdict.harmful
    assert "danger" not in str(got.value)
    again = pickle.loads(pickle.dumps(got.value))
    assert (str(again), again.verdict) == (str(got.value), verdict)
    assert next(stream, None) is None


def test_a_caller_may_choose_a_last_verdict(needle: HarmGuard) -> None:
    *parts, last = run(needle, ANSWER)
    assert isinstance(last, StreamVerdict)
    assert last.harmful
    assert "".join(parts) == ANSWER[: last.start]


def test_hold_none_gives_verdicts_alone(needle: HarmGuard) -> None:
    verdicts = run(needle, ANSWER, hold="none")
    assert all(isinstance(verdict, StreamVerdict) for verdict in verdicts)
    assert [verdict.harmful for verdict in verdicts] == [False] * (len(verdicts) - 1) + [True]
    assert [v.start for v in verdicts[1:]] == [v.end for v in verdicts[:-1]]
    with pytest.raises(HarmfulStreamError):
        run(needle, ANSWER, hold="none", on_harm="raise")
    assert len(run(needle, "", hold="none")) == 1


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.sampled_from([SAFE, BAD, "bread ", "\n", "。", "how? ", "x" * 90]), max_size=12),
    st.randoms(use_true_random=False),
)
def test_splitting_changes_nothing(needle: HarmGuard, words: list[str], rng: random.Random) -> None:
    answer = "".join(words)
    whole = run(needle, answer, 10_000)
    assert run(needle, answer, rng) == whole
    assert run(needle, answer, 1) == whole


def test_a_verdict_falls_due_at_prefixes(small: HarmGuard) -> None:
    verdicts = run(small, ANSWER, threshold=1, hold="none")
    assert [verdict.end for verdict in verdicts] == [len(text) for text in prefixes(ANSWER)]
    for verdict, text in zip(verdicts, prefixes(ANSWER), strict=True):
        assert verdict.score == small.score("how to make bread", text)


def test_views_are_streamed_too(views_needle: HarmGuard) -> None:
    hidden = "the d\u0430ng\u0435r is here. "  # Cyrillic letters
    *parts, last = run(views_needle, SAFE * 2 + hidden + SAFE * 2, threshold=0.5)
    assert (last.harmful, last.view) == (True, "cleaned")
    assert "\u0430" not in "".join(parts)
    *parts, last = run(views_needle, SAFE * 2 + "caf\u00e9 \u200b" + SAFE, 3, threshold=0.5)
    whole = views_needle.check("how to make bread", SAFE * 2 + "caf\u00e9 \u200b" + SAFE)
    assert "".join(parts) == SAFE * 2 + "caf\u00e9 \u200b" + SAFE
    for name in ("score", "tokens", "windows", "view", "unreadable"):
        assert getattr(last, name) == getattr(whole, name), name


def test_text_without_ends_is_judged_too(needle: HarmGuard) -> None:
    *parts, last = run(needle, "bread " * 100 + "danger " + "bread " * 100)
    assert last.harmful
    assert all(len(part) <= 360 for part in parts)


def test_windows_that_are_complete_are_not_scored_again(
    small: HarmGuard, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = SAFE * 40
    rows = 0
    run_model = small._session.run  # type: ignore[union-attr]

    def counted(*batch: Any, **options: Any) -> Any:
        nonlocal rows
        rows += len(batch[0])
        return run_model(*batch, **options)

    monkeypatch.setattr(small._session, "run", counted)
    verdicts = run(small, answer, threshold=1, hold="none")
    # One window ends at the end of the text, and each further one is complete once.
    assert rows <= len(verdicts) + verdicts[-1].windows
    assert rows < sum(verdict.windows for verdict in verdicts) / 4


@pytest.mark.parametrize("chunk", [b"bytes", None, 3, ["text"], {"text": "x"}])
def test_other_chunks_are_refused(needle: HarmGuard, chunk: Any) -> None:
    stream = needle.stream("bread", iter(["bread ", chunk]), threshold=0.5)
    with pytest.raises(InputTypeError, match=r"a chunk is \w+, after 6 characters; expected str"):
        list(stream)


@pytest.mark.parametrize("chunks", ["a text", b"bytes", 3, None])
def test_chunks_must_be_an_iterable_of_strings(needle: HarmGuard, chunks: Any) -> None:
    with pytest.raises(InputTypeError, match=r"chunks is \w+; expected an iterable of str"):
        needle.stream("bread", chunks, threshold=0.5)
    with pytest.raises(InputTypeError, match=r"chunks is \w+; expected an asynchronous"):
        needle.astream("bread", chunks, threshold=0.5)


def test_a_lone_surrogate_is_refused_and_not_released(needle: HarmGuard) -> None:
    stream = needle.stream("bread", [SAFE, "\ud83d", SAFE], threshold=0.5)
    out = [next(stream)]
    with pytest.raises(InvalidTextError, match="lone surrogate at position"):
        out.extend(stream)
    assert "".join(out) == SAFE


def test_too_long_an_answer_is_refused(small_bundle: Path, needle: HarmGuard) -> None:
    with HarmGuard(small_bundle, long_text="error", threads=1) as guard:
        stream = guard.stream("bread", [SAFE * 20], threshold=1)
        with pytest.raises(TextTooLongError):
            list(stream)


def test_a_wrong_prompt_is_refused_at_once(needle: HarmGuard) -> None:
    prompts: list[Any] = ["", b"x", "\ud800"]
    for prompt, error in zip(prompts, (InputError, InputTypeError, InvalidTextError), strict=True):
        with pytest.raises(error):
            needle.stream(prompt, [], threshold=0.5)


def test_options_are_checked(needle: HarmGuard) -> None:
    with pytest.raises(InputError, match=r"hold is 'word'; expected \"sentence\" or \"none\""):
        run(needle, "", hold="word")
    with pytest.raises(InputError, match=r"on_harm is 3; expected \"raise\" or \"verdict\""):
        run(needle, "", on_harm=3)
    with pytest.raises(UnknownThresholdError, match=r"expected a number in \[0, 1\]"):
        run(needle, "", threshold=1.5)
    with pytest.raises(UnknownThresholdError, match="for exchanges in guard 'tiny'; expected a"):
        run(needle, "", threshold="fpr_7")
    with pytest.raises(InputTypeError, match="threshold is list"):
        run(needle, "", threshold=[])


def test_a_bundle_without_the_operating_point_says_to_calibrate(needle: HarmGuard) -> None:
    with pytest.raises(MissingStreamPointError, match="`harmguard calibrate` fits it, or give"):
        needle.stream("bread", [])
    assert run(needle, "", threshold="default")[-1].threshold == 0.6


def test_a_closed_guard_stops_its_streams(needle_bundle: Path) -> None:
    guard = HarmGuard(needle_bundle, threads=1)
    stream = guard.stream("bread", pieces(SAFE * 3, 400), threshold=0.5)
    next(stream)
    guard.close()
    with pytest.raises(GuardClosedError):
        list(stream)
    with pytest.raises(GuardClosedError):
        guard.stream("bread", [], threshold=0.5)


def test_an_error_of_the_source_comes_through_and_nothing_is_released(needle: HarmGuard) -> None:
    def broken() -> Iterator[str]:
        yield "bread is "
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        list(needle.stream("bread", broken(), threshold=0.5))


def test_a_reader_that_stops_early_frees_text_and_source(needle: HarmGuard) -> None:
    closed = []

    def source() -> Iterator[str]:
        try:
            while True:
                yield SAFE
        finally:
            closed.append(True)

    with needle.stream("bread", source(), threshold=0.5) as stream:
        next(stream)
    assert closed == [True]
    assert (stream._gate._text, stream._gate._held) == ("", "")
    assert next(stream, None) is None
    made = source()
    stream = needle.stream("bread", made, threshold=0.5)
    next(stream)
    gone: list[Any] = [weakref.ref(stream), weakref.ref(made)]
    del stream, made
    gc.collect()
    assert [ref() for ref in gone] == [None, None]
    assert closed == [True, True]


def test_threads_share_a_guard(any_guard: HarmGuard) -> None:
    wanted = run(any_guard, ANSWER, threshold=1)
    found: list[Any] = []

    def read() -> None:
        found.append(run(any_guard, ANSWER, threshold=1))

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [wanted] * 4


async def apieces(text: str, size: int = 5) -> AsyncIterator[str]:
    for piece in pieces(text, size):
        await asyncio.sleep(0)
        yield piece


def test_async_gives_what_sync_gives(needle: HarmGuard) -> None:
    async def both(answer: str, source: Any, **options: Any) -> list[Any]:
        options = {"threshold": 0.5, "on_harm": "verdict", **options}
        return [item async for item in needle.astream("how to make bread", source, **options)]

    for answer in (SAFE * 3, ANSWER, ""):
        wanted = run(needle, answer)
        assert asyncio.run(both(answer, apieces(answer))) == wanted
        assert asyncio.run(both(answer, [answer])) == wanted
    with pytest.raises(HarmfulStreamError):
        asyncio.run(both(ANSWER, apieces(ANSWER), on_harm="raise"))
    with pytest.raises(InputTypeError, match="a chunk is bytes"):
        asyncio.run(both("", [b"x"]))


def test_an_async_reader_that_stops_early_closes_the_source(needle: HarmGuard) -> None:
    closed = []

    async def source() -> AsyncIterator[str]:
        try:
            while True:
                yield SAFE
        finally:
            closed.append(True)

    async def read() -> None:
        async with needle.astream("bread", source(), threshold=0.5) as stream:
            async for _ in stream:
                break
            assert closed == []
        assert closed == [True]
        assert stream._gate._text == ""

    asyncio.run(read())


def test_an_async_source_that_is_cancelled_is_closed(needle: HarmGuard) -> None:
    closed = []

    async def source() -> AsyncIterator[str]:
        try:
            yield "bread "
            await asyncio.sleep(60)
        finally:
            closed.append(True)

    async def read() -> None:
        stream = needle.astream("bread", source(), threshold=0.5)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(stream), 0.05)
        await stream.aclose()

    asyncio.run(read())
    assert closed == [True]


def test_many_streams_at_once_end_and_are_small(needle: HarmGuard) -> None:
    async def one_part_each(count: int) -> tuple[list[Any], list[str]]:
        streams = [needle.astream("bread", apieces(SAFE * 2), threshold=0.5) for _ in range(count)]
        return streams, await asyncio.gather(*(anext(stream) for stream in streams))

    async def all_of_them() -> int:
        await one_part_each(2)  # what is made once
        tracemalloc.start()
        streams, firsts = await one_part_each(100)
        size = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        rests = await asyncio.gather(*(_rest(stream) for stream in streams))
        assert [a + b for a, b in zip(firsts, rests, strict=True)] == [SAFE * 2] * 100
        return size // 100

    assert asyncio.run(all_of_them()) < 20_000


async def _rest(stream: Any) -> str:
    return "".join([part async for part in stream])


def test_every_error_is_named(needle: HarmGuard) -> None:
    assert issubclass(HarmfulStreamError, HarmGuardError)
    assert issubclass(MissingStreamPointError, InputError)
