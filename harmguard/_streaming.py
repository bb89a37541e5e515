"""The methods of a guard that are for answers as they come, and for reasons."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
import numpy.typing as npt

from harmguard.core.batch import Logits
from harmguard.core.encode import Window
from harmguard.verdict import StreamVerdict, Verdict

if TYPE_CHECKING:
    from harmguard.explain import Explanation
    from harmguard.stream import AsyncStream, Gate, Hold, OnHarm, Stream

Known = dict[bytes, npt.NDArray[np.float32]]
"""Logits of windows by their content."""


def through(
    known: Known, windows: Sequence[Window], logits: Callable[[Sequence[Window]], Logits]
) -> Logits:
    """Logits, float32 [windows, 2], of which those in `known` are not computed again.

    `known` then holds these windows and no others, so that it does not grow with a stream.
    """
    keys = [_key(window) for window in windows]
    new = {key: window for key, window in zip(keys, windows, strict=True) if key not in known}
    found = logits(list(new.values())) if new else ()
    fresh = known | {key: row.copy() for key, row in zip(new, found, strict=True)}
    known.clear()
    known.update((key, fresh[key]) for key in keys)
    return np.stack([fresh[key] for key in keys])


def _key(window: Window) -> bytes:
    """A hash, because the windows themselves would be more than the text."""
    return blake2b(window.ids.tobytes() + window.types.tobytes(), digest_size=16).digest()


class Streaming:
    """What `HarmGuard` has beside `score` and `check`."""

    def _points(self) -> tuple[str, Mapping[str, Any]]:
        """The guard's name, and its operating points for exchanges."""
        raise NotImplementedError

    def _check_known(self, prompt: str, response: str, known: Known) -> Verdict:
        """`check` of an exchange, but for windows whose logits are known.

        `known` then holds those of this exchange.
        """
        raise NotImplementedError

    @overload
    def stream(
        self,
        prompt: str,
        chunks: Iterable[str],
        *,
        threshold: float | str = ...,
        hold: Literal["sentence"] = ...,
        on_harm: Literal["raise"] = ...,
    ) -> Stream[str]: ...
    @overload
    def stream(
        self,
        prompt: str,
        chunks: Iterable[str],
        *,
        threshold: float | str = ...,
        hold: Literal["none"],
        on_harm: OnHarm = ...,
    ) -> Stream[StreamVerdict]: ...
    @overload
    def stream(
        self,
        prompt: str,
        chunks: Iterable[str],
        *,
        threshold: float | str = ...,
        hold: Hold = ...,
        on_harm: OnHarm,
    ) -> Stream[str | StreamVerdict]: ...
    def stream(
        self,
        prompt: str,
        chunks: Iterable[str],
        *,
        threshold: float | str = "stream",
        hold: Hold = "sentence",
        on_harm: OnHarm = "raise",
    ) -> Any:
        """The answer that `chunks` brings, as it is judged: see `harmguard.stream.Stream`.

        `threshold` is an operating point for exchanges, or a number in [0, 1]. Raises what
        `score` raises on the prompt, MissingStreamPointError for a bundle without `stream`,
        UnknownThresholdError and InputTypeError; while it is read HarmfulStreamError, and what
        `score` raises on the answer so far: then nothing of what is held goes out.
        """
        from harmguard.stream import Stream

        return Stream(self._gate(prompt, threshold, hold, on_harm), chunks)

    @overload
    def astream(
        self,
        prompt: str,
        chunks: AsyncIterable[str] | Iterable[str],
        *,
        threshold: float | str = ...,
        hold: Literal["sentence"] = ...,
        on_harm: Literal["raise"] = ...,
    ) -> AsyncStream[str]: ...
    @overload
    def astream(
        self,
        prompt: str,
        chunks: AsyncIterable[str] | Iterable[str],
        *,
        threshold: float | str = ...,
        hold: Literal["none"],
        on_harm: OnHarm = ...,
    ) -> AsyncStream[StreamVerdict]: ...
    @overload
    def astream(
        self,
        prompt: str,
        chunks: AsyncIterable[str] | Iterable[str],
        *,
        threshold: float | str = ...,
        hold: Hold = ...,
        on_harm: OnHarm,
    ) -> AsyncStream[str | StreamVerdict]: ...
    def astream(
        self,
        prompt: str,
        chunks: AsyncIterable[str] | Iterable[str],
        *,
        threshold: float | str = "stream",
        hold: Hold = "sentence",
        on_harm: OnHarm = "raise",
    ) -> Any:
        """`stream` for asyncio: see `harmguard.stream.AsyncStream`. Raises what that does."""
        from harmguard.stream import AsyncStream

        return AsyncStream(self._gate(prompt, threshold, hold, on_harm), chunks)

    def explain(self, prompt: str, response: str | None = None) -> Explanation:
        """The sentences of a response, or of a prompt alone, with their part in the verdict.

        See `harmguard.explain.Explanation`. Raises what `score` raises.
        """
        from harmguard.explain import explain

        return explain(self, prompt, response)  # type: ignore[arg-type]

    def _gate(self, prompt: str, threshold: float | str, hold: Hold, on_harm: OnHarm) -> Gate:
        from harmguard.stream import Gate, stream_threshold

        name, points = self._points()
        known: Known = {}
        gate = Gate(
            lambda answer: self._check_known(prompt, answer, known),
            stream_threshold(points, threshold, name),
            hold,
            on_harm,
        )
        self._check_prompt(prompt)
        return gate

    def _check_prompt(self, prompt: str) -> None:
        """Raise what `score` would raise on an exchange with this prompt."""
        raise NotImplementedError
