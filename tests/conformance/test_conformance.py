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
from tests.conformance.make import BUNDLES, TOLERANCES, VECTORS, pair_of

LINES = [json.loads(line) for line in VECTORS.read_text(encoding="utf-8").splitlines()]
TEXTS = [line for line in LINES if "about" in line]
FAILURES = [line for line in LINES if "error" in line]


@pytest.fixture(scope="module")
def again() -> list[dict[str, Any]]:
    return list(make.lines())


@pytest.fixture(scope="module")
def guards() -> Iterator[dict[str, HarmGuard]]:
    guards = {name: HarmGuard(path, threads=1) for name, path in BUNDLES.items()}
    yield guards
    for guard in guards.values():
        guard.close()


def test_the_file_is_small_and_names_what_it_was_made_with(again: list[dict[str, Any]]) -> None:
    assert VECTORS.stat().st_size <= 1_000_000
    header = {key: value for key, value in LINES[0].items() if key != "made_with"}
    assert header == {key: value for key, value in again[0].items() if key != "made_with"}
    assert LINES[0]["made_with"].keys() == again[0]["made_with"].keys()
    assert len(TEXTS) >= 300
    assert len(TEXTS) + len(FAILURES) + 1 == len(LINES)


@pytest.mark.parametrize("name", BUNDLES)
def test_made_again_they_are_the_same(name: str, again: list[dict[str, Any]]) -> None:
    """All but the arithmetic to the last digit, which is the processor's and the release's."""
    loose = ("logits", "score", "harmful")
    tolerance = TOLERANCES[name]
    made = [line for line in again if "about" in line]
    for old, new in zip(TEXTS, made, strict=True):
        assert {k: v for k, v in old[name].items() if k not in loose} == {
            k: v for k, v in new[name].items() if k not in loose
        }, old["about"]
        assert new[name]["score"] == pytest.approx(old[name]["score"], abs=tolerance["score"])
        for before, after in zip(old[name]["logits"], new[name]["logits"], strict=True):
            assert after == pytest.approx(before, abs=tolerance["logits"]), old["about"]
    assert FAILURES == json.loads(json.dumps([line for line in again if "error" in line]))


@pytest.mark.parametrize("name", BUNDLES)
def test_the_guard_gives_what_the_vectors_say(name: str, guards: dict[str, HarmGuard]) -> None:
    pairs = [pair_of(line) for line in TEXTS]
    tolerance = TOLERANCES[name]["score"]
    for line, verdict in zip(TEXTS, guards[name].check_many(pairs), strict=True):
        expected = line[name]
        assert verdict.score == pytest.approx(expected["score"], abs=tolerance), line["about"]
        assert verdict.threshold == expected["threshold"]
        plain = [window for window in expected["windows"] if "view" not in window]
        assert (verdict.tokens, verdict.windows) == (expected["tokens"], len(plain))
        assert round(verdict.unreadable, 6) == expected["unreadable"]
        if abs(expected["score"] - expected["threshold"]) > tolerance:
            assert verdict.harmful == expected["harmful"], line["about"]


def test_the_views_are_those_of_the_rules(again: list[dict[str, Any]]) -> None:
    made = [line for line in again if "about" in line]
    assert [line.get("views") for line in TEXTS] == [line.get("views") for line in made]
    names = {view[0] for line in TEXTS for view in line.get("views", [])}
    assert names == {"cleaned", "decoded", "payload"}


def test_the_vectors_hold_what_they_are_for() -> None:
    """Several windows, unknown tokens, both verdicts, empty texts, each with both tokenizers."""
    for name in BUNDLES:
        results = [line[name] for line in TEXTS]
        assert {True, False} == {result["harmful"] for result in results}
        assert max(len(result["windows"]) for result in results) > 4
        unknown = {"mini": 100, "unigram": 3}[name]
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
