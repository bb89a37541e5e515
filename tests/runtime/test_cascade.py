from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from harmguard import Cascade, GuardClosedError, HarmGuard, InputError
from harmguard.cascade import CascadeFit, KindFit, Scale
from harmguard.errors import (
    BundleNotFoundError,
    CascadeError,
    InputTypeError,
    UnknownThresholdError,
)

PAIRS = [("how to make bread", None), ("bread", "please"), ("bread", "a bad danger"), ("kind", "")]


def fit_for(
    small: HarmGuard, large: HarmGuard, band: tuple[float, float] | None, **changes: Any
) -> CascadeFit:
    kind = KindFit(Scale(1.0, 0.0), Scale(0.5, 0.1), band, {"default": 0.5, "fpr_1": 0.9}, 100, 0.1)
    values = {"small": small.digest, "large": large.digest, "bound": 0.2, "set": "val"}
    return CascadeFit(**{**values, "kinds": {"prompt": kind, "exchange": kind}, **changes})


@pytest.fixture
def path(small: HarmGuard, needle: HarmGuard, tmp_path: Path) -> Path:
    """A fit in a file, whose band takes everything."""
    file = tmp_path / "cascade.json"
    file.write_text(json.dumps(fit_for(small, needle, (0.0, 1.0)).to_json()))
    return file


def test_outside_the_band_the_small_guard_decides(
    small: HarmGuard, needle_bundle: Path, needle: HarmGuard
) -> None:
    for band in (None, (0.0, 0.0)):
        with Cascade(small, needle_bundle, fit_for(small, needle, band)) as cascade:
            verdict = cascade.check("how to make bread")
            assert verdict.score == pytest.approx(small.score("how to make bread"), abs=1e-6)
            assert not cascade.loaded


def test_in_the_band_the_large_one_is_loaded_and_decides(
    small: HarmGuard, needle_bundle: Path, needle: HarmGuard, path: Path
) -> None:
    with Cascade(small, needle_bundle, path) as cascade:
        before = cascade.loaded
        verdict = cascade.check("bread", "a bad danger")
        assert (before, cascade.loaded) == (False, True)
        scale = Scale(0.5, 0.1)
        expected = float(scale.of(needle.score("bread", "a bad danger")))
        assert verdict.score == pytest.approx(expected)
        assert cascade.score("bread", "a bad danger") == verdict.score
        assert (verdict.harmful, verdict.threshold) == (True, 0.5)


def test_the_verdict_names_the_guard_that_decided(
    small: HarmGuard, needle: HarmGuard, mini_named: HarmGuard
) -> None:
    score = small.score("how to make bread")
    for band, name in (((score * 0.9, 1.0), "other"), ((0.0, score / 2), "tiny")):
        fit = fit_for(small, mini_named, band)
        assert Cascade(small, mini_named, fit).check("how to make bread").guard == name


@pytest.fixture
def mini_named(make_bundle: Any) -> Any:
    """A guard of another name."""
    with HarmGuard(make_bundle(needle="danger", name="other"), threads=1) as guard:
        yield guard


def test_many_are_as_one_by_one(small: HarmGuard, needle: HarmGuard) -> None:
    scores = sorted(small.score(*pair) for pair in PAIRS)
    with Cascade(small, needle, fit_for(small, needle, (scores[1], scores[2]))) as cascade:
        one_by_one = [cascade.check(*pair) for pair in PAIRS]
        many = cascade.check_many(iter(PAIRS))
        for one, other in zip(one_by_one, many, strict=True):
            assert one.score == pytest.approx(other.score, abs=1e-6)
            assert (one.harmful, one.guard) == (other.harmful, other.guard)
        assert cascade.check_many([]) == []
    assert small.score("bread") >= 0  # what was passed in stays open


def test_preloading_and_opening_by_a_function(
    small: HarmGuard, needle_bundle: Path, path: Path
) -> None:
    calls = []

    def opened() -> HarmGuard:
        calls.append(1)
        return HarmGuard(needle_bundle, threads=1)

    with Cascade(small, opened, path, preload=True) as cascade:
        assert cascade.loaded
        cascade.check("bread")
    assert calls == [1]
    with pytest.raises(GuardClosedError, match="this cascade is closed"):
        cascade.check("bread")
    with pytest.raises(GuardClosedError, match="this cascade is closed"):
        cascade.check_many([])


def test_threads_load_the_large_guard_once(
    small: HarmGuard, needle_bundle: Path, path: Path
) -> None:
    calls = []

    def opened() -> HarmGuard:
        calls.append(1)
        return HarmGuard(needle_bundle, threads=1)

    with Cascade(small, opened, path) as cascade:
        found: list[float] = []
        threads = [
            threading.Thread(target=lambda: found.append(cascade.score("bread", "danger")))
            for _ in range(6)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert calls == [1]
    assert len(set(found)) == 1
    assert len(found) == 6


def test_a_large_guard_that_cannot_be_loaded_is_an_error_not_a_pass(
    small: HarmGuard, path: Path, tmp_path: Path
) -> None:
    with Cascade(small, tmp_path / "absent", path) as cascade:
        with pytest.raises(BundleNotFoundError):
            cascade.check("bread")
        with pytest.raises(BundleNotFoundError):
            cascade.check_many(PAIRS)


def test_other_guards_than_those_fitted_are_refused(
    small: HarmGuard, needle: HarmGuard, needle_bundle: Path
) -> None:
    with pytest.raises(CascadeError, match="the small guard 'tiny' has digest"):
        Cascade(needle, small, fit_for(small, needle, None))
    with pytest.raises(CascadeError, match="the large guard 'tiny' has digest"):
        Cascade(small, small, fit_for(small, needle, None))
    late = Cascade(small, needle_bundle, fit_for(small, small, (0.0, 1.0)))
    with pytest.raises(CascadeError, match="fit the cascade again"):
        late.check("bread")
    late.close()


def test_thresholds(small: HarmGuard, needle: HarmGuard) -> None:
    fit = fit_for(small, needle, None)
    assert Cascade(small, needle, fit, threshold="fpr_1").check("bread").threshold == 0.9
    assert Cascade(small, needle, fit, threshold=0.25).check("bread").threshold == 0.25
    with pytest.raises(UnknownThresholdError, match="'fpr_7' for a prompt in the cascade"):
        Cascade(small, needle, fit, threshold="fpr_7")
    with pytest.raises(UnknownThresholdError, match=r"expected a number in \[0, 1\]"):
        Cascade(small, needle, fit, threshold=2)
    wrong: Any = None
    with pytest.raises(InputTypeError, match="threshold is NoneType"):
        Cascade(small, needle, fit, threshold=wrong)


def test_wrong_arguments(small: HarmGuard, needle: HarmGuard, path: Path) -> None:
    wrong: Any = 3
    with pytest.raises(InputTypeError, match="large is int"):
        Cascade(small, wrong, path)
    wrong = lambda: 3  # noqa: E731
    with Cascade(small, wrong, path) as cascade, pytest.raises(InputTypeError, match="gave int"):
        cascade.check("bread")
    with Cascade(small, needle, path) as cascade:
        for pairs in ("text", b"x", {"a": "b"}, 3):
            wrong = pairs
            with pytest.raises(InputTypeError, match="pairs is"):
                cascade.check_many(wrong)
        with pytest.raises(InputError):
            cascade.check("")


def test_a_fit_survives_its_file(small: HarmGuard, needle: HarmGuard, path: Path) -> None:
    assert CascadeFit.read(path) == fit_for(small, needle, (0.0, 1.0))


@pytest.mark.parametrize(
    "change",
    [
        {"cascade": 2},
        {"kinds": {}},
        {"bound": None, "extra": 1},
        {"kinds": {"prompt": {}, "exchange": {}}},
        {"kinds.slope": -1},
        {"kinds.band": [0.9, 0.1]},
        {"kinds.band": [0.1]},
        {"kinds.band": [True, 1]},
        {"kinds.thresholds": {"fpr_1": 0.5}},
        {"kinds.thresholds": {"default": 1.5}},
    ],
)
def test_a_damaged_fit_is_refused(path: Path, change: dict[str, Any]) -> None:
    value = json.loads(path.read_text())
    for key, new in change.items():
        first, _, second = key.partition(".")
        if second == "slope":
            value["kinds"]["prompt"]["small"]["slope"] = new
        elif second:
            value[first]["prompt"][second] = new
        else:
            value[first] = new
    path.write_text(json.dumps(value))
    with pytest.raises(CascadeError, match=r"'cascade\.json' is no fit of a cascade"):
        CascadeFit.read(path)


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"3", b"\xff", b'{"cascade": 1, "cascade": 1}'])
def test_other_files_are_refused(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "other.json"
    file.write_bytes(data)
    with pytest.raises(CascadeError, match=r"'other\.json' is no fit of a cascade"):
        CascadeFit.read(file)
    with pytest.raises(CascadeError, match="cannot be read"):
        CascadeFit.read(tmp_path / "absent.json")
    with pytest.raises(CascadeError, match="cannot be read"):
        CascadeFit.read(tmp_path)
