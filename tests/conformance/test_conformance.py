"""The vectors that ports must reproduce: Python replays them, and makes them again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import harmguard
from harmguard import HarmGuard
from harmguard.verify import verify
from tests.conformance import make
from tests.conformance.failures import apply
from tests.conformance.make import BUNDLES, FILES, TOLERANCES, VECTORS, pair_of

Lines = list[dict[str, Any]]
ALL: dict[Path, Lines] = {
    path: [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for path in FILES
}
LINES = ALL[VECTORS]
TEXTS = [line for line in LINES if "about" in line]
FAILURES = [line for line in LINES if "error" in line]
FILE_OF = {name: path for path, names in FILES.items() for name in names}


def texts_of(lines: Lines) -> Lines:
    return [line for line in lines if "about" in line]


@pytest.fixture(scope="module")
def again() -> dict[Path, Lines]:
    return {path: list(make.lines(path)) for path in FILES}


@pytest.fixture(scope="module")
def guards() -> Iterator[dict[str, HarmGuard]]:
    guards = {name: HarmGuard(path, threads=1) for name, path in BUNDLES.items()}
    yield guards
    for guard in guards.values():
        guard.close()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_is_small_and_names_what_it_was_made_with(
    path: Path, again: dict[Path, Lines]
) -> None:
    assert path.stat().st_size <= 1_000_000
    found, made = ALL[path][0], again[path][0]
    header = {key: value for key, value in found.items() if key != "made_with"}
    assert header == {key: value for key, value in made.items() if key != "made_with"}
    assert found["made_with"].keys() == made["made_with"].keys()
    assert len(texts_of(ALL[path])) >= 300


def test_every_line_is_a_text_a_failure_or_the_header() -> None:
    assert len(TEXTS) + len(FAILURES) + 1 == len(LINES)


@pytest.mark.parametrize("name", BUNDLES)
def test_made_again_they_are_the_same(name: str, again: dict[Path, Lines]) -> None:
    """All but the arithmetic to the last digit, which is the processor's and the release's."""
    loose = ("logits", "score", "harmful")
    tolerance = TOLERANCES[name]
    path = FILE_OF[name]
    for old, new in zip(texts_of(ALL[path]), texts_of(again[path]), strict=True):
        assert {k: v for k, v in old[name].items() if k not in loose} == {
            k: v for k, v in new[name].items() if k not in loose
        }, old["about"]
        assert new[name]["score"] == pytest.approx(old[name]["score"], abs=tolerance["score"])
        for before, after in zip(old[name]["logits"], new[name]["logits"], strict=True):
            assert after == pytest.approx(before, abs=tolerance["logits"]), old["about"]
    failures = [line for line in again[VECTORS] if "error" in line]
    assert json.loads(json.dumps(failures)) == FAILURES


@pytest.mark.parametrize("name", BUNDLES)
def test_the_guard_gives_what_the_vectors_say(name: str, guards: dict[str, HarmGuard]) -> None:
    texts = texts_of(ALL[FILE_OF[name]])
    pairs = [pair_of(line) for line in texts]
    tolerance = TOLERANCES[name]["score"]
    for line, verdict in zip(texts, guards[name].check_many(pairs), strict=True):
        expected = line[name]
        assert verdict.score == pytest.approx(expected["score"], abs=tolerance), line["about"]
        assert verdict.threshold == expected["threshold"]
        plain = [window for window in expected["windows"] if "view" not in window]
        assert (verdict.tokens, verdict.windows) == (expected["tokens"], len(plain))
        assert round(verdict.unreadable, 6) == expected["unreadable"]
        if abs(expected["score"] - expected["threshold"]) > tolerance:
            assert verdict.harmful == expected["harmful"], line["about"]


def test_the_views_are_those_of_the_rules(again: dict[Path, Lines]) -> None:
    made = texts_of(again[VECTORS])
    assert [line.get("views") for line in TEXTS] == [line.get("views") for line in made]
    names = {view[0] for line in TEXTS for view in line.get("views", [])}
    assert names == {"cleaned", "decoded", "payload"}


def test_the_vectors_hold_what_they_are_for() -> None:
    """Several windows, unknown tokens, both verdicts, empty texts, with each tokenizer."""
    for name, path in FILE_OF.items():
        results = [line[name] for line in texts_of(ALL[path])]
        assert {True, False} == {result["harmful"] for result in results}
        assert max(len(result["windows"]) for result in results) > (4 if path == VECTORS else 1)
        unknown = {"mini": 100, "unigram": 3, "multilingual": 3}[name]
        assert sum(unknown in result["prompt_ids"] for result in results) > 20
    assert {line["error"] for line in FAILURES} >= {
        "EmptyPromptError", "InvalidTextError", "TextTooLongError", "InputTypeError",
        "UnknownThresholdError", "BundleNotFoundError", "ManifestError", "BundleFileError",
        "UnsupportedVersionError", "UnsafePathError", "GraphMismatchError", "TokenizerError",
        "GoldenMismatchError",
    }  # fmt: skip


@pytest.mark.parametrize(
    "line", FAILURES, ids=[f"{n}-{line['error']}" for n, line in enumerate(FAILURES)]
)
def test_what_is_refused(
    line: dict[str, Any], guards: dict[str, HarmGuard], tmp_path: Path
) -> None:
    error = getattr(harmguard.errors, line["error"])
    if "bundle" in line:
        folder = Path(shutil.copytree(BUNDLES["unigram"], tmp_path / "guard"))
        apply(folder, line["bundle"])
        with pytest.raises(error) as caught:
            verify(folder) if line["at"] == "verify" else HarmGuard(folder, threads=1)
    elif "threshold" in line:
        with pytest.raises(error) as caught:
            HarmGuard(BUNDLES["unigram"], threads=1, threshold=line["threshold"])
    else:
        times = line.get("times", 1)
        texts = [t * times if isinstance(t, str) else t for t in (line["prompt"], line["response"])]
        with pytest.raises(error) as caught:
            guards["unigram"].score(*texts)
    assert caught.type is error
