"""Check an installation: every file of a bundle hashed, every golden pair replayed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, NoReturn, Protocol

from harmguard.bundle import Bundle, load_tokenizer, open_and_record, strict_json
from harmguard.core.encode import PairEncoder
from harmguard.core.scores import window_scores
from harmguard.errors import BundleFileError, GoldenMismatchError, MissingExtraError
from harmguard.guard import HarmGuard

# What the texts beside a text may move its score by: float32 sums in another order.
BATCH_DIFFERENCE = 0.002
_MAX_ROW_BYTES = 4_000_000
_MAX_ID = 1 << 31
_MAX_LOGIT = 1e4  # in half precision a model ends at 65,504


@dataclass(frozen=True)
class VerifyReport:
    """What `verify` checked."""

    files: int
    """Files of the bundle, the manifest not counted; all have the size and sha256 it says."""
    bytes: int
    """Their size together."""
    rows: int
    """Golden pairs replayed."""
    worst: float
    """The largest difference between a score and its reference, in [0, 1]."""
    tolerance: float
    """The largest tolerance among the golden pairs."""
    unchecked: str | None
    """Why the scores were not computed here (a Core ML bundle without the extra); else None."""
    recorded: bool | None
    """Whether the hashes of large files were recorded; None if there are none."""


@dataclass(frozen=True)
class GoldenRow:
    """A pair, the ids of its windows, and the score of the reference model."""

    prompt: str
    response: str | None
    ids: list[list[int]]
    logits: list[list[float]]
    score: float
    tolerance: float


class Scorer(Protocol):
    """What gives a pair its score."""

    def score(self, prompt: str, response: str | None = None) -> float:
        """P(harmful)."""


def no_package_scorer(bundle: Bundle) -> Scorer:
    """Raise MissingExtraError: the runtime alone computes nothing of a Core ML bundle."""
    raise MissingExtraError(
        f"{bundle.manifest.name!a} is a bundle for Core ML, whose scores `harmguard verify` "
        "computes where the extras export and coreml are installed"
    )


def verify(
    folder: Path | str, package_scorer: Callable[[Bundle], Scorer] = no_package_scorer
) -> VerifyReport:
    """Hash every file of the bundle and replay its golden pairs through `HarmGuard`.

    `package_scorer` makes the scorer of a Core ML bundle; where it raises ImportError, the token
    ids alone are compared.

    Raises what `HarmGuard` raises, and GoldenMismatchError for a pair with other token ids, a
    score further from the reference than the pair's tolerance, or one that differs by more than
    BATCH_DIFFERENCE in a batch of the other pairs. The largest window is tried too:
    GraphMismatchError where the model does not take it.
    """
    bundle, recorded = open_and_record(Path(folder))
    unchecked = None
    if bundle.manifest.runtime == "coreml":
        scorer = None
        try:
            scorer = package_scorer(bundle)
        except ImportError as error:
            unchecked = str(error)
        rows, worst, tolerance = replay_golden(bundle, scorer)
    else:
        with HarmGuard(bundle.folder) as guard:
            guard._try_largest()
            rows, worst, tolerance = replay_golden(bundle, guard)
    files = bundle.manifest.files.values()
    total = sum(entry.size for entry in files)
    return VerifyReport(len(files), total, rows, worst, tolerance, unchecked, recorded)


def replay_golden(bundle: Bundle, guard: Scorer | None) -> tuple[int, float, float]:
    """Score the golden pairs with a guard of the bundle: rows, largest error, largest tolerance.

    None compares the token ids alone. Raises BundleFileError for a file that cannot be read,
    GoldenMismatchError for a pair with other token ids, a score further from the reference
    than its tolerance, or one that the other pairs beside it move.
    """
    spec = bundle.manifest.input
    encoder = PairEncoder(
        load_tokenizer(bundle), spec.template, spec.max_tokens, spec.normalisation
    )
    rows, worst, tolerance = 0, 0.0, 0.0
    scored: list[tuple[str, str | None]] = []
    scores: list[float] = []
    for rows, row in _golden_rows(bundle):
        found = [window.ids.tolist() for window in encoder.encode(row.prompt, row.response).windows]
        if found != row.ids:
            _mismatch(rows, *_first_difference(found, row.ids), "another tokenizers release")
        if guard is None:
            continue
        score = guard.score(row.prompt, row.response)
        if not abs(score - row.score) <= row.tolerance:
            _mismatch(
                rows,
                f"score {score:.4f}",
                f"{row.score:.4f} within {row.tolerance:g}",
                "an onnxruntime release or a processor with other arithmetic",
            )
        scored.append((row.prompt, row.response))
        scores.append(score)
        worst = max(worst, abs(score - row.score))
        tolerance = max(tolerance, row.tolerance)
    if isinstance(guard, HarmGuard):
        _check_batch(scores, guard.score_many(scored))
    return rows, worst, tolerance


def _check_batch(alone: Sequence[float], together: Iterable[float]) -> None:
    """Refuse scores that depend on the texts beside a text."""
    for row, (one, other) in enumerate(zip(alone, together, strict=True), 1):
        if not abs(one - other) <= BATCH_DIFFERENCE:
            _mismatch(
                row,
                f"score {other:.4f} in a batch of the other rows",
                f"{one:.4f}, which it has alone, within {BATCH_DIFFERENCE:g}",
                "a model that was rounded by one range for a whole batch",
            )


def _golden_rows(bundle: Bundle) -> Iterator[tuple[int, GoldenRow]]:
    number, max_chars = 0, bundle.manifest.input.max_chars
    for number, line in enumerate(BytesIO(bundle.read("golden.jsonl")), 1):
        try:
            row = _golden_row(strict_json.parse(line, _MAX_ROW_BYTES), max_chars)
            _check_score(row, bundle.manifest.output.temperature)
        except ValueError as error:
            raise BundleFileError(
                f"golden.jsonl, row {number}: {error}; likely a hostile or hand-made bundle"
            ) from None
        yield number, row
    if number == 0:
        raise BundleFileError(
            "golden.jsonl is empty; expected pairs to replay; likely an unfinished export"
        )


def _golden_row(value: Any, max_chars: int) -> GoldenRow:
    names = ("prompt", "response", "ids", "logits", "score", "tolerance")
    if not isinstance(value, dict) or sorted(value) != sorted(names):
        raise ValueError(f"expected an object with exactly {', '.join(names)}")
    row = GoldenRow(**value)
    windows = isinstance(row.ids, list) and isinstance(row.logits, list)
    checks = {
        "prompt": row.prompt != "" and _is_text(row.prompt, max_chars),
        "response": row.response is None or _is_text(row.response, max_chars),
        "ids": windows and all(_all(ids, int, _MAX_ID) for ids in row.ids),
        "logits": windows
        and len(row.logits) == len(row.ids) > 0
        and all(_all(pair, float, _MAX_LOGIT) and len(pair) == 2 for pair in row.logits),
        "score": _all([row.score], float) and 0 <= row.score <= 1,
        "tolerance": _all([row.tolerance], float) and 0 < row.tolerance <= 1,
    }
    for name, valid in checks.items():
        if not valid:
            raise ValueError(f"{name} is not what docs/bundle-format.md describes")
    if row.score - row.tolerance <= 0 and row.score + row.tolerance >= 1:
        raise ValueError(f"tolerance {row.tolerance:g} tolerates every score")
    return row


def _all(values: Any, kind: type, limit: float = 1.0) -> bool:
    """Whether `values` is a list of `kind` from -limit to limit; an int is a float too."""
    kinds = (int, float) if kind is float else (int,)
    return isinstance(values, list) and all(
        type(value) in kinds and -limit <= value <= limit for value in values
    )


def _is_text(value: Any, max_chars: int) -> bool:
    """Whether a guard would take `value` as a text."""
    if not isinstance(value, str) or len(value) > max_chars:
        return False
    return not any("\ud800" <= c <= "\udfff" for c in value)


def _check_score(row: GoldenRow, temperature: float) -> None:
    """Refuse a reference score that is not the one of the reference logits."""
    score = float(window_scores(row.logits, temperature).max())
    if abs(score - row.score) > 1e-3:
        raise ValueError(
            f"score {row.score:.4f}; its logits give {score:.4f} at temperature {temperature:g}; "
            "likely a bundle whose temperature was changed and its golden pairs were not"
        )


def _first_difference(found: list[list[int]], expected: list[list[int]]) -> tuple[str, str]:
    if len(found) != len(expected):
        return f"{len(found)} windows", f"{len(expected)}"
    window = next(
        i for i, pair in enumerate(zip(found, expected, strict=True)) if pair[0] != pair[1]
    )
    a, b = found[window], expected[window]
    if len(a) != len(b):
        return f"{len(a)} tokens in window {window}", f"{len(b)}"
    place = next(i for i, pair in enumerate(zip(a, b, strict=True)) if pair[0] != pair[1])
    return f"token id {a[place]} at {place} of window {window}", f"{b[place]}"


def _mismatch(row: int, found: str, expected: str, cause: str) -> NoReturn:
    raise GoldenMismatchError(
        f"golden.jsonl, row {row}: {found}; expected {expected}; likely {cause}, "
        "or a file of another bundle"
    )
