"""Two guards in a row: a small one for all texts, a large one for those that it is unsure of."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harmguard.bundle import strict_json
from harmguard.bundle.spec import KINDS
from harmguard.core.scores import logit, sigmoid
from harmguard.errors import (
    CascadeError,
    GuardClosedError,
    InputTypeError,
    UnknownThresholdError,
)
from harmguard.guard import HarmGuard
from harmguard.inputs import Pair, checked_threshold, kind_of
from harmguard.verdict import Verdict

MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class Scale:
    """From a guard's score to the common one: sigmoid(slope * logit(score) + offset)."""

    slope: float
    offset: float

    def of(self, scores: Any) -> npt.NDArray[np.float64]:
        """Scores on the common scale, float64 in [0, 1]."""
        return sigmoid(self.slope * logit(scores) + self.offset)


@dataclass(frozen=True)
class KindFit:
    """What is fitted for one kind of input."""

    small: Scale
    large: Scale
    band: tuple[float, float] | None
    """Scores of the small guard, on the common scale, for which the large one is asked."""
    thresholds: Mapping[str, float]
    """Operating points on the common scale; "default" is there."""
    benign: int
    """Benign rows that it was fitted to."""
    escalated: float
    """Share of them that goes up to the large guard."""


@dataclass(frozen=True)
class CascadeFit:
    """What `harmguard calibrate --cascade` writes: bands, scales and thresholds of two guards."""

    small: str
    """Digest of the manifest of the small guard that it is for."""
    large: str
    bound: float
    """The most that was to go up of benign texts."""
    set: str
    kinds: Mapping[str, KindFit]

    def to_json(self) -> dict[str, Any]:
        """The JSON object of a fit."""
        return {"cascade": 1, **asdict(self)}

    @staticmethod
    def read(path: str | os.PathLike[str]) -> CascadeFit:
        """The fit in a file. Raises CascadeError."""
        name = Path(path).name
        try:
            with Path(path).open("rb") as file:
                return _fit(strict_json.parse(file.read(MAX_BYTES + 1), MAX_BYTES))
        except OSError as error:
            raise CascadeError(
                f"{name!a} cannot be read ({error.strerror}); expected what `harmguard calibrate "
                "--cascade` writes; likely a wrong path"
            ) from None
        except (KeyError, TypeError, ValueError) as error:
            raise CascadeError(
                f"{name!a} is no fit of a cascade ({type(error).__name__}); expected what "
                "`harmguard calibrate --cascade` writes; likely another file, or one edited by hand"
            ) from None


def _fit(value: Any) -> CascadeFit:
    if not isinstance(value, dict) or value.pop("cascade") != 1:
        raise ValueError("version")
    kinds = {}
    for kind in KINDS:
        one = dict(value["kinds"][kind])
        for side in ("small", "large"):
            one[side] = Scale(*(_number(one[side][key], -1e6, 1e6) for key in ("slope", "offset")))
            if one[side].slope <= 0:
                raise ValueError("a scale that turns scores round")
        band = one["band"]
        one["band"] = None if band is None else tuple(_number(x, 0, 1) for x in band)
        if one["band"] is not None and (len(one["band"]) != 2 or one["band"][0] > one["band"][1]):
            raise ValueError("band")
        one["thresholds"] = {
            str(name): _number(point, 0, 1) for name, point in one["thresholds"].items()
        }
        one["thresholds"]["default"]  # must be there
        kinds[kind] = KindFit(**one)
    return CascadeFit(**{**value, "kinds": kinds})


def _number(value: Any, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise ValueError("number")
    return float(value)


class Cascade:
    """A guard made of two: the large one is asked where the small one's score is in a band.

    - `small`: an open guard, a bundle's folder, or None for the guard of the package.
    - `large`: an open guard, a bundle's folder, or a function that opens one. Unless it is open
      it is loaded at the first text in the band, or now with `preload`.
    - `fit`: the file that `harmguard calibrate --cascade` wrote for these two guards, or a
      CascadeFit. It holds the band, the scale that both guards' scores are put on, and thresholds.
    - `threshold`: a number in [0, 1] on that scale, or the name of an operating point in it.

    `Verdict.guard` says who decided; tokens, windows and the rest are that guard's. The same
    text takes the same way, alone or among others. May be used by several threads at once. What
    the cascade opened it closes; a guard that was passed in stays the caller's.
    """

    def __init__(
        self,
        small: HarmGuard | str | os.PathLike[str] | None,
        large: HarmGuard | str | os.PathLike[str] | Callable[[], HarmGuard],
        fit: CascadeFit | str | os.PathLike[str],
        *,
        threshold: float | str = "default",
        preload: bool = False,
    ) -> None:
        """Make a cascade.

        Raises CascadeError for a fit that cannot be used or is for other guards (for the large
        one when it is loaded), UnknownThresholdError, InputTypeError, and BundleError.
        """
        self._fit = fit if isinstance(fit, CascadeFit) else CascadeFit.read(fit)
        self._thresholds = {kind: self._threshold(kind, threshold) for kind in KINDS}
        self._lock = threading.Lock()
        self._owned: list[HarmGuard] = []
        self._closed = False
        self._open_large = _opener(large)
        self._large: HarmGuard | None = None
        if isinstance(small, HarmGuard):
            self._small = small
        else:
            self._small = HarmGuard(small)
            self._owned.append(self._small)
        try:
            self._check(self._small, self._fit.small, "small")
            if isinstance(large, HarmGuard):
                self._check(large, self._fit.large, "large")
                self._large = large
            elif preload:
                self._loaded()
        except Exception:
            self.close()
            raise

    @property
    def loaded(self) -> bool:
        """Whether the large guard is loaded."""
        return self._large is not None

    def score(self, prompt: str, response: str | None = None) -> float:
        """P(harmful) on the common scale, in [0, 1]. Raises what `check` raises."""
        return self.check(prompt, response).score

    def check(self, prompt: str, response: str | None = None) -> Verdict:
        """The verdict of the guard that decides.

        Raises what `HarmGuard.check` raises, and at the first text in the band what loading
        the large guard raises.
        """
        self._require_open()
        first = self._small.check(prompt, response)
        kind = kind_of(response)
        settled = self._settle(first, kind, self._fit.kinds[kind].small)
        if not self._in_band(settled, kind):
            return settled
        second = self._loaded().check(prompt, response)
        return self._settle(second, kind, self._fit.kinds[kind].large)

    def check_many(self, pairs: Iterable[Pair]) -> list[Verdict]:
        """The verdict on each pair, in order: the small guard's all, then the large one's."""
        self._require_open()
        kept: list[Pair] = []

        def noted() -> Iterable[Pair]:
            for pair in pairs:
                kept.append(pair)
                yield pair

        firsts = self._small.check_many(
            noted() if isinstance(pairs, Iterable) and not isinstance(pairs, (str, bytes, Mapping))
            else pairs
        )  # fmt: skip
        kinds = [kind_of(response) for _, response in kept]
        found = [
            self._settle(first, kind, self._fit.kinds[kind].small)
            for first, kind in zip(firsts, kinds, strict=True)
        ]
        up = [n for n, kind in enumerate(kinds) if self._in_band(found[n], kind)]
        if up:
            seconds = self._loaded().check_many([kept[n] for n in up])
            for n, second in zip(up, seconds, strict=True):
                found[n] = self._settle(second, kinds[n], self._fit.kinds[kinds[n]].large)
        return found

    def close(self) -> None:
        """Close the guards that the cascade opened; later calls raise GuardClosedError."""
        with self._lock:
            self._closed = True
            for guard in self._owned:
                guard.close()

    def __enter__(self) -> Cascade:
        """Return the cascade itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the cascade."""
        self.close()

    def _settle(self, verdict: Verdict, kind: str, scale: Scale) -> Verdict:
        score = float(scale.of(verdict.score))
        threshold = self._thresholds[kind]
        return replace(verdict, score=score, threshold=threshold, harmful=score >= threshold)

    def _in_band(self, verdict: Verdict, kind: str) -> bool:
        band = self._fit.kinds[kind].band
        return band is not None and band[0] <= verdict.score <= band[1]

    def _loaded(self) -> HarmGuard:
        if self._large is not None:
            return self._large
        with self._lock:
            self._require_open()
            if self._large is None:
                guard = self._open_large()
                self._owned.append(guard)
                self._check(guard, self._fit.large, "large")
                self._large = guard
            return self._large

    def _require_open(self) -> None:
        if self._closed:
            raise GuardClosedError(
                "this cascade is closed; expected an open one; likely used after its `with` block"
            )

    def _check(self, guard: HarmGuard, digest: str, which: str) -> None:
        if guard.digest != digest:
            raise CascadeError(
                f"the {which} guard {guard.name!r} has digest {guard.digest[:12]}; expected "
                f"{digest[:12]}, which the cascade was fitted to; likely a new calibration of the "
                "guard: fit the cascade again"
            )

    def _threshold(self, kind: str, threshold: Any) -> float:
        points = self._fit.kinds[kind].thresholds
        if isinstance(threshold, str):
            if threshold not in points:
                raise UnknownThresholdError(
                    f"no operating point {threshold[:40]!a} for a {kind} in the cascade; expected "
                    f"a number or one of {', '.join(sorted(points))}; likely a spelling mistake"
                )
            return points[threshold]
        return checked_threshold(threshold)


def _opener(large: Any) -> Callable[[], HarmGuard]:
    if isinstance(large, HarmGuard):
        return lambda: large
    if isinstance(large, (str, os.PathLike)):
        return lambda: HarmGuard(large)
    if not callable(large):
        raise InputTypeError(
            f"large is {type(large).__name__}; expected a guard, a bundle's folder, or a function "
            "that opens a guard"
        )

    def opened() -> HarmGuard:
        guard = large()
        if not isinstance(guard, HarmGuard):
            raise InputTypeError(f"large() gave {type(guard).__name__}; expected a HarmGuard")
        return guard

    return opened
