"""HarmGuard: a harm score for a prompt, or for a prompt and its response."""

from __future__ import annotations

import hashlib
import os
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from harmguard._streaming import Known, Streaming, through
from harmguard.bundle import EMBEDDED, Bundle, Threshold, load_tokenizer, open_bundle, require_onnx
from harmguard.core.batch import Batch, Logits, padding_within, window_logits
from harmguard.core.cores import default_threads
from harmguard.core.encode import Encoded, PairEncoder, Window
from harmguard.core.readable import Reader
from harmguard.core.scores import text_scores, winners
from harmguard.core.views import ViewName
from harmguard.errors import (
    EmptyPromptError,
    ForkedGuardError,
    GraphMismatchError,
    GuardClosedError,
    InputError,
    InputTypeError,
    InvalidTextError,
    PrepareError,
    TextTooLongError,
    UnknownThresholdError,
    UnpreparedWarning,
    UnverifiedBundleWarning,
)
from harmguard.prepared.prepare import PreparedCopy, prepare
from harmguard.verdict import Verdict

if TYPE_CHECKING:
    from harmguard.runtime.session import Session

Pair = tuple[str, str | None]

MAX_BATCH_TOKENS = 512
"""Tokens, padding included, that one call of the model gets at most: it bounds the memory.

Above it is one text alone, if it is longer. More tokens at once were not faster.
"""

# What a longer batch needed is given back: it grows with the square of the length.
_SHORT_TOKENS = 256

MAX_PENDING_TOKENS = 1 << 18
"""Tokens that are encoded and not yet scored at most, so that input of any size fits memory."""

_SURROGATE = re.compile("[\ud800-\udfff]")


class _Scored(NamedTuple):
    score: float
    kind: str
    encoded: Encoded
    view: ViewName
    unreadable: float


class _Pending(NamedTuple):
    kind: str
    encoded: Encoded
    unreadable: float


class HarmGuard(Streaming):
    """A guard: scores how harmful a prompt, or a prompt with its response, is.

    ``bundle`` is a bundle's folder; None is the guard that comes with the package. A guard is
    never looked up by name or downloaded.

    - ``threads``: threads of the model, at least 1. None: the cores that affinity and the
      container's CPU quota allow, at most 4.
    - ``threshold``: a number in [0, 1], or the name of an operating point in the bundle, which
      has a value for each kind of input (prompt alone, exchange). Only ``check`` and
      ``check_many`` use it.
    - ``long_text``: what happens to a text that the model cannot take at once. "window": it is
      scored in overlapping windows, and the highest score counts. "error": TextTooLongError.
    - ``cache``: a folder for a copy of the bundle that is prepared for this device: its weights
      are mapped from disk instead of held in memory. It is made at the first use, which takes a
      while and disk space, and used from then on; ``prepared`` is its folder. Where it cannot be
      made or used, the guard runs without it and says why, in an UnpreparedWarning and in
      ``unprepared``. The scores are the same.

    Windows: a long prompt alone is cut into windows that overlap by a quarter. In an exchange
    the side that fills at most half of a window is whole in every window while the other slides;
    when both are longer each keeps half: every part of the response is scored with the head of
    the prompt, and every other part of the prompt with the head of the response.

    A text is any ``str`` without lone surrogates of at most ``max_chars`` characters; a prompt
    must not be empty, a response may be. ``response=None`` means that there is none, and the
    score is the prompt's; otherwise it is the exchange's, also for ``response=""``.

    All methods may be called from several threads at once. A guard does not survive a fork:
    make it in the child. Close it with ``close()`` or a ``with`` block.
    """

    def __init__(
        self,
        bundle: str | os.PathLike[str] | None = None,
        *,
        threads: int | None = None,
        threshold: float | str = "default",
        long_text: Literal["window", "error"] = "window",
        cache: str | os.PathLike[str] | None = None,
    ) -> None:
        """Load a guard.

        Raises BundleError (see ``harmguard.errors``) for a bundle that cannot be used,
        UnknownThresholdError for a threshold that the bundle lacks, and InputTypeError or
        ValueError for other wrong options. Warns UnverifiedBundleWarning if the bundle was
        exported without a parity gate, and UnpreparedWarning if a cache is given and not used.
        """
        # onnxruntime is half of the time that `import harmguard` would take: only guards need it.
        from harmguard.runtime.session import Session

        _check_options(threads, long_text)
        opened = open_bundle(EMBEDDED if bundle is None else bundle)
        require_onnx(opened)
        self._thresholds = _thresholds(opened, threshold)
        self._manifest = opened.manifest
        self._spec = opened.manifest.input
        self._temperature = opened.manifest.output.temperature
        self._refuse_long = long_text == "error"
        self._copy, self._unprepared = _prepared_copy(opened, cache)
        mapped = self._copy.tokenizer() if self._copy else None
        tokenizer = mapped or load_tokenizer(opened)
        normalisation = self._spec.normalisation
        self._encoder = PairEncoder(
            tokenizer, self._spec.template, self._spec.max_tokens, normalisation
        )
        has_views = normalisation != "none"
        self._reader = Reader(tokenizer, opened.manifest.scripts, has_views=has_views)
        model = self._copy.model if self._copy else None
        self._session: Session | None = Session(opened, threads or default_threads(), model)
        self._pid = os.getpid()
        if opened.manifest.precision.parity is None:
            warnings.warn(
                f"guard {opened.manifest.name!r} was exported without a parity gate; its scores "
                "may be far from its checkpoint's",
                UnverifiedBundleWarning,
                stacklevel=2,
            )

    @property
    def max_chars(self) -> int:
        """The most characters (code points) that a prompt or a response may have."""
        return self._spec.max_chars

    @property
    def name(self) -> str:
        """The name in the bundle's manifest."""
        return self._manifest.name

    @property
    def digest(self) -> str:
        """The sha256 of the bundle's manifest, in the format that is written today."""
        return hashlib.sha256(self._manifest.to_bytes()).hexdigest()

    @property
    def prepared(self) -> Path | None:
        """The folder of the prepared copy that this guard runs from; None without one."""
        return self._copy.folder if self._copy else None

    @property
    def unprepared(self) -> str | None:
        """Why there is no prepared copy although a cache was given; None otherwise."""
        return self._unprepared

    def score(self, prompt: str, response: str | None = None) -> float:
        """P(harmful), in [0, 1], of the exchange, or of the prompt alone if response is None.

        Raises InputTypeError, EmptyPromptError, InvalidTextError, TextTooLongError,
        GuardClosedError or ForkedGuardError.
        """
        return self._score_one(prompt, response).score

    def score_many(self, pairs: Iterable[Pair]) -> npt.NDArray[np.float32]:
        """P(harmful) of each pair, float32 [pairs], in [0, 1] and in the order of the input.

        ``pairs`` is an iterable of ``(prompt, response)``, each a tuple or list of two, with
        None as the response of a prompt alone. The scores are those of ``score``, whatever
        the order and the other pairs. Raises what ``score`` raises, with the pair's index.
        """
        return np.array([scored.score for scored in self._score_all(pairs)], np.float32)

    def check(self, prompt: str, response: str | None = None) -> Verdict:
        """The score with the decision taken on it. Raises what ``score`` raises."""
        return self._verdict(self._score_one(prompt, response, self._reader))

    def check_many(self, pairs: Iterable[Pair]) -> list[Verdict]:
        """The verdict on each pair, in the order of the input. Takes what ``score_many`` takes."""
        return [self._verdict(scored) for scored in self._score_all(pairs, self._reader)]

    def close(self) -> None:
        """Free the model. Calls under way end; later ones raise GuardClosedError."""
        self._session = None

    def __enter__(self) -> HarmGuard:
        """Return the guard itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the guard."""
        self.close()

    def _verdict(self, scored: _Scored) -> Verdict:
        threshold = self._thresholds[scored.kind]
        return Verdict(
            score=scored.score,
            threshold=threshold,
            harmful=scored.score >= threshold,
            tokens=scored.encoded.tokens,
            windows=scored.encoded.plain,
            view=scored.view,
            unreadable=scored.unreadable,
            guard=self._manifest.name,
        )

    def _points(self) -> tuple[str, Mapping[str, Threshold]]:
        return self._manifest.name, self._manifest.thresholds["exchange"]

    def _check_prompt(self, prompt: str) -> None:
        self._usable_session()
        self._encode(prompt, "", "")

    def _check_known(self, prompt: str, response: str, known: Known) -> Verdict:
        session = self._usable_session()
        pending = self._pending(prompt, response, "", self._reader)
        return self._verdict(next(self._run(session, [pending], known)))

    def _usable_session(self) -> Session:
        session = self._session
        if session is None:
            raise GuardClosedError("this guard is closed; expected an open one; make a new one")
        if os.getpid() != self._pid:
            raise ForkedGuardError(
                f"this guard was made in process {self._pid} and is used in process "
                f"{os.getpid()}; expected one made in the same process; likely a server that "
                "forks its workers after loading: make the guard in each worker"
            )
        return session

    def _score_one(
        self, prompt: str, response: str | None, reader: Reader | None = None
    ) -> _Scored:
        session = self._usable_session()
        return next(self._run(session, [self._pending(prompt, response, "", reader)]))

    def _score_all(self, pairs: Iterable[Pair], reader: Reader | None = None) -> Iterator[_Scored]:
        session = self._usable_session()
        pending: list[_Pending] = []
        tokens = 0
        for index, (prompt, response) in enumerate(_checked_pairs(pairs)):
            pending.append(self._pending(prompt, response, f"pair {index}: ", reader))
            tokens += sum(len(window.ids) for window in pending[-1].encoded.windows)
            if tokens >= MAX_PENDING_TOKENS:
                yield from self._run(session, pending)
                pending, tokens = [], 0
        yield from self._run(session, pending)

    def _pending(
        self, prompt: str, response: str | None, where: str, reader: Reader | None
    ) -> _Pending:
        encoded = self._encode(prompt, response, where)
        unreadable = reader.unreadable(prompt, response) if reader else 0.0
        return _Pending("prompt" if response is None else "exchange", encoded, unreadable)

    def _encode(self, prompt: str, response: str | None, where: str) -> Encoded:
        self._check_text(prompt, where + "prompt")
        if not prompt:
            raise EmptyPromptError(
                f"{where}prompt is empty; expected at least one character; likely a missing field"
            )
        if response is not None:
            self._check_text(response, where + "response")
        encoded = self._encoder.encode(prompt, response)
        if self._refuse_long and encoded.plain > 1:
            raise TextTooLongError(
                f"{where}{encoded.tokens:,} tokens; expected what fits one input of "
                f"{self._spec.max_tokens} with its special tokens; "
                'long_text="window" scores it in windows'
            )
        return encoded

    def _check_text(self, text: object, name: str) -> None:
        if not isinstance(text, str):
            raise InputTypeError(
                f"{name} is {type(text).__name__}; expected str; likely undecoded bytes, or a "
                "missing value"
            )
        if len(text) > self._spec.max_chars:
            raise TextTooLongError(
                f"{name} has {len(text):,} characters; expected at most "
                f"{self._spec.max_chars:,}; likely a whole document: score its parts"
            )
        # Searched for, not tried: a UnicodeEncodeError would carry the text along.
        found = None if text.isascii() else _SURROGATE.search(text)
        if found is not None:
            raise InvalidTextError(
                f"{name} holds a lone surrogate at position {found.start():,} of "
                f"{len(text):,}; expected valid Unicode; likely wrongly decoded text"
            )

    def _run(
        self, session: Session, pending: list[_Pending], known: Known | None = None
    ) -> Iterator[_Scored]:
        if not pending:
            return
        windows = [window for one in pending for window in one.encoded.windows]
        if known is None:
            logits = self._logits(session, windows)
        else:
            logits = through(known, windows, lambda new: self._logits(session, new))
        if not np.isfinite(logits).all():
            raise GraphMismatchError(
                "the model gave a logit that is not finite; expected finite ones; likely a "
                "damaged model, or one that overflows in its precision"
            )
        counts = [len(one.encoded.windows) for one in pending]
        scores = text_scores(logits, counts, self._temperature).astype(np.float32)
        won = winners(logits, counts)
        for one, score, window in zip(pending, scores, won, strict=True):
            yield _Scored(float(score), *one[:2], one.encoded.view(window), one.unreadable)

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
            from harmguard.runtime.session import release_memory

            release_memory()
        return logits


def _checked_pairs(pairs: Any) -> Iterator[Pair]:
    if isinstance(pairs, (str, bytes, Mapping)) or not isinstance(pairs, Iterable):
        raise InputTypeError(
            f"pairs is {type(pairs).__name__}; expected an iterable of (prompt, response); "
            "likely a single text: use score or check"
        )
    for index, pair in enumerate(pairs):
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            size = f" of {len(pair)}" if isinstance(pair, (tuple, list)) else ""
            raise InputTypeError(
                f"pair {index} is {type(pair).__name__}{size}; expected (prompt, response), a "
                "tuple or list of two; likely a prompt alone: write (prompt, None)"
            )
        yield pair[0], pair[1]


def _check_options(threads: Any, long_text: Any) -> None:
    if threads is not None and (not isinstance(threads, int) or isinstance(threads, bool)):
        raise InputTypeError(f"threads is {type(threads).__name__}; expected int or None")
    if threads is not None and threads < 1:
        raise InputError(f"threads is {threads}; expected at least 1, or None to choose")
    if long_text not in ("window", "error"):
        raise InputError(f'long_text is {long_text!a}; expected "window" or "error"')


def _prepared_copy(
    bundle: Bundle, cache: str | os.PathLike[str] | None
) -> tuple[PreparedCopy | None, str | None]:
    """The copy in `cache`, or why there is none; neither without a cache."""
    if cache is None:
        return None, None
    try:
        return prepare(bundle, Path(cache)), None
    except PrepareError as error:
        reason = str(error)
    warnings.warn(
        f"guard {bundle.manifest.name!r} runs without a prepared copy: {reason}",
        UnpreparedWarning,
        stacklevel=3,
    )
    return None, reason


def _thresholds(bundle: Bundle, threshold: Any) -> dict[str, float]:
    """The threshold in use for each kind of input."""
    points = bundle.manifest.thresholds
    if isinstance(threshold, str):
        common = sorted(set.intersection(*(set(named) for named in points.values())))
        if threshold not in common:
            raise UnknownThresholdError(
                f"no operating point {threshold[:40]!a} in guard {bundle.manifest.name!r}; "
                f"expected a number or one of {', '.join(common)}; likely a spelling mistake"
            )
        return {kind: named[threshold].value for kind, named in points.items()}
    if not isinstance(threshold, (int, float)) or isinstance(threshold, bool):
        raise InputTypeError(
            f"threshold is {type(threshold).__name__}; expected a number or a name"
        )
    if not 0 <= threshold <= 1:
        raise UnknownThresholdError(f"threshold is {threshold}; expected a number in [0, 1]")
    return dict.fromkeys(points, float(threshold))
