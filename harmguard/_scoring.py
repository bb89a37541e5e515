"""Texts -> scores by a guard's model: encoded, run in bounded batches, the highest window taken."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from harmguard._streaming import Known, through
from harmguard.bundle import Manifest
from harmguard.core.batch import Batch, Logits, padding_within, window_logits
from harmguard.core.encode import Encoded, PairEncoder, Window
from harmguard.core.readable import Reader
from harmguard.core.scores import text_scores, winners
from harmguard.core.tokenizing import named_errors
from harmguard.core.views import ViewName
from harmguard.errors import EmptyPromptError, GraphMismatchError, InputError, TextTooLongError
from harmguard.inputs import Kind, Pair, check_text, checked_pairs, kind_of
from harmguard.runtime.calls import under_way

if TYPE_CHECKING:
    from harmguard.runtime.session import Session

MAX_BATCH_TOKENS = 512
"""Tokens, padding included, that one call of the model gets at most: it bounds the memory.

Above it is one text alone, if it is longer. More tokens at once were not faster.
"""

# What a longer batch needed is given back: it grows with the square of the length.
_SHORT_TOKENS = 256

MAX_PENDING_TOKENS = 1 << 18
"""Tokens that are encoded and not yet scored at most, so that input of any size fits memory."""


class Scored(NamedTuple):
    """A text's score, and what its verdict says beside it."""

    score: float
    kind: Kind
    encoded: Encoded
    view: ViewName
    unreadable: float


class Pending(NamedTuple):
    """A text that is encoded and not yet scored."""

    kind: Kind
    encoded: Encoded
    unreadable: float


class Scorer:
    """Scores texts by the rules of a manifest and of a guard's options."""

    def __init__(
        self, encoder: PairEncoder, manifest: Manifest, max_chars: int, refuse_long: bool
    ) -> None:
        self.encoder = encoder
        self._spec, self._temperature = manifest.input, manifest.output.temperature
        self._max_chars, self._refuse_long = max_chars, refuse_long

    def each(
        self,
        session: Session,
        pairs: Iterable[Pair],
        reader: Reader | None = None,
        refused: Callable[[int, InputError], None] | None = None,
    ) -> Iterator[Scored]:
        """Score the pairs in order; with `refused`, bad ones are given to it and left out."""
        waiting: list[Pending] = []
        tokens = 0
        for index, (prompt, response) in enumerate(checked_pairs(pairs)):
            where = "" if refused else f"pair {index}: "
            try:
                waiting.append(self.pending(prompt, response, reader, where))
            except InputError as error:
                if refused is None:
                    raise
                refused(index, error)
                continue
            tokens += sum(len(window.ids) for window in waiting[-1].encoded.windows)
            if tokens >= MAX_PENDING_TOKENS:
                yield from self.run(session, waiting)
                waiting, tokens = [], 0
        yield from self.run(session, waiting)

    def pending(
        self, prompt: str, response: str | None, reader: Reader | None, where: str = ""
    ) -> Pending:
        """A text encoded, with the share that `reader` cannot read; errors begin with `where`."""
        encoded = self.encode(prompt, response, where)
        unreadable = 0.0
        if reader is not None:
            with under_way():
                unreadable = named_errors(f"{where}text", reader.unreadable, prompt, response)
        return Pending(kind_of(response), encoded, unreadable)

    def encode(self, prompt: str, response: str | None, where: str = "") -> Encoded:
        """A text's windows. Raises what `HarmGuard.score` raises for a text."""
        check_text(prompt, where + "prompt", self._max_chars)
        if not prompt:
            raise EmptyPromptError(
                f"{where}prompt is empty; expected at least one character; likely a missing field"
            )
        if response is not None:
            check_text(response, where + "response", self._max_chars)
        with under_way():
            encoded = named_errors(f"{where}text", self.encoder.encode, prompt, response)
        if not encoded.prompt_tokens:
            raise EmptyPromptError(
                f"{where}prompt has {len(prompt):,} characters and no token; expected at least "
                "one; likely spaces or invisible characters alone"
            )
        if self._refuse_long and encoded.plain > 1:
            raise TextTooLongError(
                f"{where}{encoded.tokens:,} tokens; expected what fits one input of "
                f"{self._spec.max_tokens} with its special tokens; "
                'long_text="window" scores it in windows'
            )
        return encoded

    def run(
        self, session: Session, waiting: list[Pending], known: Known | None = None
    ) -> Iterator[Scored]:
        """Score what is encoded, but for windows whose logits are `known`."""
        if not waiting:
            return
        windows = [window for text in waiting for window in text.encoded.windows]
        if known is None:
            logits = self._logits(session, windows)
        else:
            logits = through(known, windows, lambda new: self._logits(session, new))
        if not np.isfinite(logits).all():
            raise GraphMismatchError(
                "the model gave a logit that is not finite; expected finite ones; likely a "
                "damaged model, or one that overflows in its precision"
            )
        counts = [len(text.encoded.windows) for text in waiting]
        scores = text_scores(logits, counts, self._temperature).astype(np.float32)
        won = winners(logits, counts)
        for text, score, window in zip(waiting, scores, won, strict=True):
            view = text.encoded.view(window)
            yield Scored(float(score), text.kind, text.encoded, view, text.unreadable)

    def _logits(self, session: Session, windows: Sequence[Window]) -> Logits:
        """Logits of each window, float32 [windows, labels]."""
        large = 0

        def run(batch: Batch, last: bool) -> Logits:
            nonlocal large
            large = max(large, batch.ids.size)
            return session.run(*batch, shrink=last and large > _SHORT_TOKENS)

        logits = window_logits(
            windows,
            run,
            pad_id=self._spec.pad_id,
            padding=padding_within(self._spec.max_tokens),
            batch_tokens=MAX_BATCH_TOKENS,
        )
        if sum(len(window.ids) for window in windows) > MAX_BATCH_TOKENS:
            from harmguard.runtime.heap import release_memory

            release_memory()
        return logits
