"""HarmGuard: a harm score for a prompt, or for a prompt and its response."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NoReturn, Self, TypedDict, Unpack

import numpy as np
import numpy.typing as npt

from harmguard._loading import opening_bundle, prepared_copy
from harmguard._options import (
    check_long_text,
    checked_max_chars,
    checked_path,
    checked_threads,
    checked_thresholds,
)
from harmguard._scoring import Scored, Scorer
from harmguard._streaming import Known, Streaming
from harmguard.bundle import EMBEDDED, Bundle, Threshold, load_tokenizer
from harmguard.core.encode import PairEncoder
from harmguard.core.readable import Reader
from harmguard.core.tokenizing import named_errors
from harmguard.errors import (
    CopiedGuardError,
    ForkedGuardError,
    GuardClosedError,
    InputError,
    UnverifiedBundleWarning,
)
from harmguard.inputs import Pair
from harmguard.installed import installed_folder
from harmguard.runtime.calls import under_way
from harmguard.verdict import Verdict

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from harmguard.prepared.unigram import MappedUnigram
    from harmguard.runtime.session import Session


class GuardOptions(TypedDict, total=False):
    """The keyword arguments of `HarmGuard`, which explains them."""

    threads: int | None
    threshold: float | str
    long_text: Literal["window", "error"]
    cache: str | os.PathLike[str] | None
    max_chars: int | None


class HarmGuard(Streaming):
    """A guard: scores how harmful a prompt, or a prompt with its response, is.

    `bundle` is a bundle's folder; None is the guard that comes with the package, mini. Others
    that packages bring are `HarmGuard.installed(name)`. Nothing is ever downloaded.

    - `threads`: threads of the model, at least 1, and no more than the cores that affinity and
      the container's CPU quota allow. None: those cores, at most 4.
    - `threshold`: a number in [0, 1], also as digits, or the name of an operating point in the
      bundle, which has a value for each kind of input (prompt alone, exchange). Only `check`
      and `check_many` use it.
    - `long_text`: what happens to a text that the model cannot take at once. "window": it is
      scored in overlapping windows, and the highest score counts. "error": TextTooLongError.
    - `cache`: a folder for a copy of the bundle that is prepared for this device: its weights
      are mapped from disk instead of held in memory. It is made at the first use, which takes a
      while and disk space, and used from then on; `prepared` is its folder. Where it cannot be
      made or used, the guard runs without it and says why, in an UnpreparedWarning and in
      `why_unprepared`. The scores are the same.
    - `max_chars`: the most characters of a text, where the bundle's own are too many.

    Windows: a long prompt alone is cut into windows that overlap by a quarter. In an exchange
    the side that fills at most half of a window is whole in every window while the other slides;
    when both are longer each keeps half: every part of the response is scored with the head of
    the prompt, and every other part of the prompt with the head of the response.

    A text is any `str` without lone surrogates of at most `max_chars` characters; a prompt
    must hold at least one token (spaces alone are none), a response may be empty.
    `response=None` means that there is none, and the score is the prompt's; otherwise it is the
    exchange's, also for `response=""`.

    All methods may be called from several threads at once; as many run at once as there are
    cores for, `cores // threads` and at least one. A guard does not survive a fork, nor can it be
    copied or pickled: make it in the child. At the end of the process the batch under way is
    waited for, 2 s at most, and calls raise GuardClosedError. Close a guard with `close()` or a
    `with` block.
    """

    def __init__(
        self,
        bundle: str | os.PathLike[str] | None = None,
        *,
        threads: int | None = None,
        threshold: float | str = "default",
        long_text: Literal["window", "error"] = "window",
        cache: str | os.PathLike[str] | None = None,
        max_chars: int | None = None,
    ) -> None:
        """Load a guard.

        Raises BundleError (see `harmguard.errors`) for a bundle that cannot be used,
        UnknownThresholdError for a threshold that the bundle lacks, and InputTypeError or
        InputError for other wrong options. Warns UnverifiedBundleWarning if the bundle was
        exported without a parity gate, UnpreparedWarning if a cache is given and not used, and
        FewerThreadsWarning for more threads than cores.
        """
        # onnxruntime is half of the time that `import harmguard` would take: only guards need it.
        from harmguard.runtime.probe import probe
        from harmguard.runtime.session import Session

        check_long_text(long_text)
        number = checked_threads(threads)
        folder = EMBEDDED if bundle is None else checked_path(bundle, "bundle")
        with opening_bundle(folder) as opened:
            self._thresholds = checked_thresholds(opened, threshold)
            self._manifest = opened.manifest
            self._spec = opened.manifest.input
            self._max_chars = checked_max_chars(max_chars, self._spec.max_chars)
            place = None if cache is None else checked_path(cache, "cache")
            self._copy, self._why_unprepared = prepared_copy(opened, place)
            with under_way():
                tokenizer, self._encoder = named_errors("loading", self._encoder_of, opened)
                has_views = self._spec.normalisation != "none"
                self._reader = Reader(tokenizer, opened.manifest.scripts, has_views=has_views)
            refuse_long = long_text == "error"
            self._scorer = Scorer(self._encoder, self._manifest, self._max_chars, refuse_long)
            model = self._copy.model if self._copy else None
            with under_way():
                session = Session(opened, number, model)
        probe(session, self._encoder, tokenizer, self._spec)
        self._session: Session | None = session
        self._pid = os.getpid()
        if opened.manifest.precision.parity is None:
            warnings.warn(
                f"guard {opened.manifest.name!r} was exported without a parity gate; its scores "
                "may be far from its checkpoint's",
                UnverifiedBundleWarning,
                stacklevel=2,
            )

    @classmethod
    def installed(cls, name: str, **options: Unpack[GuardOptions]) -> Self:
        """Load the guard `name` that an installed package brings.

        Only packages of this environment are looked at (`harmguard.installed`); nothing is
        downloaded, and a name that two packages have is refused. Options are the constructor's.
        Raises BundleNotFoundError, AmbiguousGuardError, InputTypeError, InputError, and what
        loading raises.
        """
        return cls(installed_folder(name), **options)

    @property
    def max_chars(self) -> int:
        """The most characters (code points) that a prompt or a response may have."""
        return self._max_chars

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
    def why_unprepared(self) -> str | None:
        """Why there is no prepared copy although a cache was given; None otherwise."""
        return self._why_unprepared

    def score(self, prompt: str, response: str | None = None) -> float:
        """P(harmful), in [0, 1], of the exchange, or of the prompt alone if response is None.

        Raises InputTypeError, EmptyPromptError, InvalidTextError, TextTooLongError,
        GuardClosedError or ForkedGuardError; for a bundle that loads and fails on this text
        TokenizerError, GraphMismatchError or RunError.
        """
        return next(self._scored(prompt, response)).score

    def score_many(self, pairs: Iterable[Pair]) -> npt.NDArray[np.float32]:
        """P(harmful) of each pair, float32 [pairs], in [0, 1] and in the order of the input.

        `pairs` is an iterable of `(prompt, response)`, each a tuple or list of two, with
        None as the response of a prompt alone. The scores are those of `score`, whatever
        the order and the other pairs; `.tolist()` makes them what `json.dumps` takes. Raises
        what `score` raises, with the pair's index.
        """
        scored = self._scorer.each(self._usable_session(), pairs)
        return np.array([one.score for one in scored], np.float32)

    def check(self, prompt: str, response: str | None = None) -> Verdict:
        """The score with the decision taken on it. Raises what `score` raises."""
        return self._verdict(next(self._scored(prompt, response, self._reader)))

    def check_many(self, pairs: Iterable[Pair]) -> list[Verdict]:
        """The verdict on each pair, in the order of the input. Takes what `score_many` takes."""
        return list(self._check_all(pairs))

    def close(self) -> None:
        """Free the model. Calls under way end; later ones raise GuardClosedError."""
        self._session = None

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        """Raise CopiedGuardError: for pickle, copy and deepcopy."""
        raise CopiedGuardError(
            "a guard cannot be copied or pickled, because it holds native memory and threads; "
            "likely one sent to another process: make it there, once in each, and share it among "
            "threads as it is"
        )

    def __enter__(self) -> HarmGuard:
        """Return the guard itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the guard."""
        self.close()

    def _check_all(
        self, pairs: Iterable[Pair], refused: Callable[[int, InputError], None] | None = None
    ) -> Iterator[Verdict]:
        """As `check_many`; with `refused`, bad pairs are given to it and left out."""
        scored = self._scorer.each(self._usable_session(), pairs, self._reader, refused)
        return map(self._verdict, scored)

    def _verdict(self, scored: Scored) -> Verdict:
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

    def _encoder_of(self, bundle: Bundle) -> tuple[Tokenizer | MappedUnigram, PairEncoder]:
        mapped = self._copy.tokenizer() if self._copy else None
        tokenizer = mapped or load_tokenizer(bundle)
        spec = self._spec
        encoder = PairEncoder(tokenizer, spec.template, spec.max_tokens, spec.normalisation)
        return tokenizer, encoder

    def _try_largest(self) -> None:
        """Try the largest window that the bundle promises. Raises GraphMismatchError."""
        from harmguard.runtime.probe import largest_window, probe_largest

        window = largest_window(self._encoder.tokenizer, self._spec)
        probe_largest(self._usable_session(), window, self._spec)

    def _points(self) -> tuple[str, Mapping[str, Threshold]]:
        return self._manifest.name, self._manifest.thresholds["exchange"]

    def _check_prompt(self, prompt: str) -> None:
        self._usable_session()
        self._scorer.encode(prompt, "")

    def _check_known(self, prompt: str, response: str, known: Known) -> Verdict:
        return self._verdict(next(self._scored(prompt, response, self._reader, known)))

    def _scored(
        self,
        prompt: str,
        response: str | None,
        reader: Reader | None = None,
        known: Known | None = None,
    ) -> Iterator[Scored]:
        session = self._usable_session()
        pending = self._scorer.pending(prompt, response, reader)
        return self._scorer.run(session, [pending], known)

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
