"""An answer that is judged while it is written: only judged text comes out.

`Gate` holds text and decides, without input or output of its own; `Stream` and `AsyncStream` drive
it. A sentence is held until the verdict on the answer so far is harmless.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Callable,
    Iterable,
    Iterator,
    Mapping,
)
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, cast

from harmguard.core.sentences import Cutter
from harmguard.errors import (
    HarmfulStreamError,
    InputError,
    InputTypeError,
    MissingStreamPointError,
    UnknownThresholdError,
)
from harmguard.inputs import checked_threshold
from harmguard.verdict import StreamVerdict, Verdict

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

STREAM = "stream"
"""The operating point of streams, under `thresholds.exchange`."""
SENTENCE = 180
"""The least characters that are judged at once, white space not counted: each further verdict costs
work, and moves the threshold, because benign answers have one more chance to be stopped."""
LONGEST = 360
"""The most characters that are held, white space counted."""

Hold = Literal["sentence", "none"]
OnHarm = Literal["raise", "verdict"]
Judge = Callable[[str], Verdict]
"""From the answer so far to a verdict on it."""
Item = TypeVar("Item", bound="str | StreamVerdict", covariant=True)


def cutter() -> Cutter:
    """What cuts a stream into the parts that are judged."""
    return Cutter(SENTENCE, LONGEST)


def prefixes(answer: str) -> list[str]:
    """The texts that a stream of `answer` is judged on, in order; the last one is all of it."""
    ends = cutter().push(answer)
    if not ends or ends[-1] < len(answer):
        ends.append(len(answer))
    return [answer[:end] for end in ends]


def stream_threshold(points: Mapping[str, Any], threshold: float | str, name: str) -> float:
    """The number that `threshold` stands for among a guard's operating points of exchanges.

    Raises MissingStreamPointError, UnknownThresholdError or InputTypeError.
    """
    if isinstance(threshold, str):
        if threshold in points:
            return float(points[threshold].value)
        if threshold == STREAM:
            raise MissingStreamPointError(
                f"guard {name!r} has no operating point thresholds.exchange.{STREAM}; expected "
                "one; likely a bundle calibrated by an older release: `harmguard calibrate` fits "
                "it, or give a number as threshold"
            )
        raise UnknownThresholdError(
            f"no operating point {threshold[:40]!a} for exchanges in guard {name!r}; expected a "
            f"number or one of {', '.join(sorted(points))}; likely a spelling mistake"
        )
    return checked_threshold(threshold)


class Gate:
    """Text comes in by `push`, is judged by `judge` while `due`, and goes out by `settle`."""

    __slots__ = (
        "_cutter",
        "_ends",
        "_finished",
        "_held",
        "_hold",
        "_judge",
        "_on_harm",
        "_text",
        "_threshold",
        "verdict",
    )  # fmt: skip

    def __init__(self, judge: Judge, threshold: float, hold: Hold, on_harm: OnHarm) -> None:
        _check_choice("hold", hold, ("sentence", "none"))
        _check_choice("on_harm", on_harm, ("raise", "verdict"))
        self._judge, self._threshold, self._hold, self._on_harm = judge, threshold, hold, on_harm
        self._cutter = cutter()
        self._ends: deque[int] = deque()
        self._text = ""  # judged
        self._held = ""  # not judged yet
        self._finished = False
        self.verdict: StreamVerdict | None = None

    def push(self, chunk: object) -> None:
        """Take a piece of the answer. Raises InputTypeError."""
        if not isinstance(chunk, str):
            raise InputTypeError(
                f"a chunk is {type(chunk).__name__}, after {len(self._text) + len(self._held):,} "
                "characters; expected str; likely undecoded bytes, or an event in place of its "
                "text: decode with codecs.getincrementaldecoder, which keeps cut characters"
            )
        self._ends.extend(self._cutter.push(chunk))
        self._held += chunk

    def finish(self) -> None:
        """Say that nothing more comes: what is held is judged as it is."""
        self._finished = True
        if self._held or self.verdict is None:
            if not self._ends or self._ends[-1] < len(self._text) + len(self._held):
                self._ends.append(len(self._text) + len(self._held))

    @property
    def due(self) -> bool:
        """Whether there is something to judge."""
        return bool(self._ends)

    def judge(self) -> StreamVerdict:
        """The verdict on the answer up to the next end. Raises what `score` raises."""
        start, end = len(self._text), self._ends[0]
        verdict = self._judge(self._text + self._held[: end - start])
        values = {field.name: getattr(verdict, field.name) for field in fields(verdict)}
        values |= {"threshold": self._threshold, "harmful": verdict.score >= self._threshold}
        return StreamVerdict(**values, start=start, end=end)

    def settle(self, verdict: StreamVerdict) -> list[str | StreamVerdict]:
        """What goes out on a verdict. Raises HarmfulStreamError."""
        self.verdict = verdict
        self._ends.popleft()
        count = verdict.end - verdict.start
        part, self._held = self._held[:count], self._held[count:]
        self._text += part
        if verdict.harmful:
            self.drop()
            if self._on_harm == "raise":
                raise HarmfulStreamError(
                    f"the answer is harmful up to character {verdict.end:,} (score "
                    f"{verdict.score:.4f}, threshold {verdict.threshold}); characters from "
                    f"{verdict.start:,} on were held back",
                    verdict,
                )
            return [verdict] if self._hold == "none" else []
        return [verdict] if self._hold == "none" else [part]

    def last(self) -> list[str | StreamVerdict]:
        """What goes out at the very end: the verdict, for a caller who chose that."""
        chosen = self._on_harm == "verdict" and self._hold == "sentence"
        return [self.verdict] if chosen and self.verdict else []

    @property
    def stopped(self) -> bool:
        """Whether a verdict was harmful."""
        return self.verdict is not None and self.verdict.harmful

    def drop(self) -> None:
        """Forget the text."""
        self._text = self._held = ""
        self._ends.clear()


class Stream(Generic[Item]):
    """An iterator over the judged text of an answer; made by `HarmGuard.stream`.

    - `hold="sentence"`: it gives text, each part once the answer up to its end is harmless.
      Together the parts are what went in, character by character.
    - `hold="none"`: it gives a StreamVerdict wherever a part would end, for callers who show
      the text first.
    - `on_harm="raise"`: at the first harmful verdict HarmfulStreamError, whose `verdict` says
      where. `on_harm="verdict"`: the stream ends there, and its last item is always the last
      StreamVerdict, harmful or not.

    `verdict` is the last verdict so far. After the end of a harmless answer it is `check`'s
    on the whole answer, but for `threshold` and `harmful`, which are the stream's.

    A sentence is what docs/bundle-format.md says, of at least SENTENCE and at most LONGEST
    characters. `close()`, or the end of a `with` block, frees the text and closes `chunks`
    if that is a generator; so does a harmful verdict. A stream has one reader; several streams of
    one guard may be read by several threads at once.
    """

    def __init__(self, gate: Gate, chunks: Iterable[str]) -> None:
        if isinstance(chunks, (str, bytes)) or not isinstance(chunks, Iterable):
            raise _wrong_chunks(chunks, "an iterable of str")
        self._gate = gate
        self._items = _items(gate, chunks)

    @property
    def verdict(self) -> StreamVerdict | None:
        """The last verdict; None before the first."""
        return self._gate.verdict

    def __iter__(self) -> Iterator[Item]:
        """Return the stream itself."""
        return self

    def __next__(self) -> Item:
        """The next part or verdict."""
        return cast(Item, next(self._items))

    def close(self) -> None:
        """Read no more, and free what is held."""
        self._items.close()
        self._gate.drop()

    def __enter__(self) -> Stream[Item]:
        """Return the stream itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the stream."""
        self.close()


class AsyncStream(Generic[Item]):
    """`Stream` for asyncio: `async for`, `async with`, `aclose()`.

    Verdicts are made in a few threads that all streams share, in the order in which they fall
    due, so that the event loop never waits for the model. `chunks` is an asynchronous iterable,
    or a plain one that does not block.
    """

    def __init__(self, gate: Gate, chunks: AsyncIterable[str] | Iterable[str]) -> None:
        if isinstance(chunks, (str, bytes)) or not isinstance(chunks, (AsyncIterable, Iterable)):
            raise _wrong_chunks(chunks, "an asynchronous iterable of str")
        self._gate = gate
        self._items = _async_items(gate, chunks)

    @property
    def verdict(self) -> StreamVerdict | None:
        """The last verdict; None before the first."""
        return self._gate.verdict

    def __aiter__(self) -> AsyncIterator[Item]:
        """Return the stream itself."""
        return self

    async def __anext__(self) -> Item:
        """The next part or verdict."""
        return cast(Item, await anext(self._items))

    async def aclose(self) -> None:
        """Read no more, and free what is held."""
        await self._items.aclose()
        self._gate.drop()

    async def __aenter__(self) -> AsyncStream[Item]:
        """Return the stream itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the stream."""
        await self.aclose()


def _items(gate: Gate, chunks: Iterable[str]) -> Any:
    try:
        for chunk in chunks:
            gate.push(chunk)
            while gate.due:
                yield from gate.settle(gate.judge())
            if gate.stopped:
                break
        else:
            gate.finish()
            while gate.due:
                yield from gate.settle(gate.judge())
        yield from gate.last()
    finally:
        gate.drop()
        if hasattr(chunks, "close"):
            chunks.close()


async def _async_items(gate: Gate, chunks: Any) -> Any:
    try:
        async for chunk in _each(chunks):
            gate.push(chunk)
            async for item in _judged(gate):
                yield item
            if gate.stopped:
                break
        else:
            gate.finish()
            async for item in _judged(gate):
                yield item
        for item in gate.last():
            yield item
    finally:
        gate.drop()
        if hasattr(chunks, "aclose"):
            await chunks.aclose()
        elif hasattr(chunks, "close"):
            chunks.close()


async def _judged(gate: Gate) -> AsyncIterator[str | StreamVerdict]:
    import asyncio

    loop = asyncio.get_running_loop()
    while gate.due:
        for item in gate.settle(await loop.run_in_executor(_executor(), gate.judge)):
            yield item


async def _each(chunks: Any) -> AsyncIterator[Any]:
    if isinstance(chunks, AsyncIterable):
        async for chunk in chunks:
            yield chunk
    else:
        for chunk in chunks:
            yield chunk


_threads: tuple[int, ThreadPoolExecutor] | None = None


def _executor() -> ThreadPoolExecutor:
    """The threads that make the verdicts of asynchronous streams: a few, and in order.

    asyncio's own would let thousands of verdicts wait in front of a program's other calls.
    """
    global _threads
    if _threads is None or _threads[0] != os.getpid():  # threads do not survive a fork
        from concurrent.futures import ThreadPoolExecutor

        from harmguard.core.cores import default_threads

        _threads = os.getpid(), ThreadPoolExecutor(default_threads(), "harmguard-stream")
    return _threads[1]


def _check_choice(name: str, value: object, choices: tuple[str, str]) -> None:
    if value not in choices:
        shown = ascii(value)[:40]
        raise InputError(f'{name} is {shown}; expected "{choices[0]}" or "{choices[1]}"')


def _wrong_chunks(chunks: object, expected: str) -> InputTypeError:
    return InputTypeError(
        f"chunks is {type(chunks).__name__}; expected {expected}; likely a whole answer: use check"
    )
