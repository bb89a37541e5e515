from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harmguard import HarmGuard, Verdict, errors

BundleMaker = Callable[..., Path]
SECRET = "zebra"
BAD_TEXTS = [
    pytest.param(b"zebra", errors.InputTypeError, "is bytes; expected str", id="bytes"),
    pytest.param(7, errors.InputTypeError, "is int; expected str", id="int"),
    pytest.param(
        "zebra\udc80!", errors.InvalidTextError, "lone surrogate at position 5 of 7", id="surrogate"
    ),
    pytest.param(
        SECRET * 50_000,
        errors.TextTooLongError,
        "250,000 characters; expected at most 200,000",
        id="long",
    ),
]
ODD_TEXTS = {
    "nul": "a" + "\0" * 300,
    "control": "".join(map(chr, range(1, 32))) + "a",
    "specials": "[CLS] [SEP] [PAD] [MASK] [UNK] [SEP]",
    "combining": "a" + "\u0301" * 10_000,
    "right to left": "\u202e\u200f\u05d0" * 200,
    "no space": "makebread" * 3_334,
    "spaces": "a" + " " * 5_000,
    "unassigned": "\U000e0fff\ufffe\uffff" * 50,
    "emoji": "\U0001f468\u200d\U0001f469\u200d\U0001f467" * 100,
    "one": "a",
}


def test_score_check_and_the_many_forms_agree(small: HarmGuard) -> None:
    pairs = [("how to make bread", None), ("how to", "please help"), ("a", "")]
    scores = [small.score(*pair) for pair in pairs]
    assert len(set(scores)) == 3
    assert all(type(score) is float and 0 <= score <= 1 for score in scores)
    many = small.score_many(pairs)
    assert many.dtype == np.float32
    assert many.tolist() == pytest.approx(scores, abs=1e-6)
    verdicts = [small.check(*pair) for pair in pairs]
    assert [verdict.score for verdict in verdicts] == scores
    assert [v.threshold for v in verdicts] == [0.5, 0.6, 0.6]
    assert [v.harmful for v in verdicts] == [v.score >= v.threshold for v in verdicts]
    assert [v.tokens for v in verdicts] == [4, 4, 1]
    assert [v.windows for v in verdicts] == [1, 1, 1]
    for many_verdict, verdict in zip(small.check_many(pairs), verdicts, strict=True):
        assert many_verdict.score == pytest.approx(verdict.score, abs=1e-6)
        assert many_verdict.tokens == verdict.tokens


def test_an_empty_response_is_an_exchange(small: HarmGuard) -> None:
    assert small.score("how to", "") != small.score("how to")
    assert small.check("how to", "").threshold == 0.6


def test_no_pairs_give_empty_results(small: HarmGuard) -> None:
    assert small.score_many([]).shape == (0,)
    assert small.score_many([]).dtype == np.float32
    assert small.check_many(iter([])) == []


def test_pairs_may_be_lists_and_come_from_a_generator(small: HarmGuard) -> None:
    expected = small.score_many([("a", None), ("a", "b")])
    found = small.score_many(pair for pair in (["a", None], ["a", "b"]))  # type: ignore[misc]
    assert found.tolist() == expected.tolist()


@pytest.mark.parametrize("pairs", ["zebra", b"zebra", {"zebra": None}, 5, None])
def test_what_is_no_list_of_pairs(small: HarmGuard, pairs: Any) -> None:
    name = type(pairs).__name__
    with pytest.raises(errors.InputTypeError, match=f"pairs is {name}; expected an iterable"):
        small.score_many(pairs)


@pytest.mark.parametrize("pair", ["ab", ("a",), ("a", "b", "c"), None, {"a": 1, "b": 2}])
def test_what_is_no_pair(small: HarmGuard, pair: Any) -> None:
    with pytest.raises(errors.InputTypeError, match=r"pair 2 is \w+( of \d)?; expected \(prompt"):
        small.check_many([("a", None), ("a", None), pair])


@pytest.mark.parametrize(("text", "error", "message"), BAD_TEXTS)
def test_bad_texts(
    any_guard: HarmGuard, text: Any, error: type[Exception], message: str, caplog: Any
) -> None:
    caplog.set_level(logging.DEBUG)
    calls: list[tuple[Callable[[], object], str]] = [
        (lambda: any_guard.score(text), "^prompt "),
        (lambda: any_guard.check("a", text), "^response "),
        (lambda: any_guard.score_many([("a", None), (text, "b")]), "^pair 1: prompt "),
        (lambda: any_guard.check_many([("a", text)]), "^pair 0: response "),
    ]
    for call, where in calls:
        with pytest.raises(error, match=where + ".*" + message) as caught:
            call()
        _holds_no_text(caught.value)
    assert SECRET not in caplog.text


def _holds_no_text(error: BaseException) -> None:
    assert SECRET not in str(error)
    assert SECRET not in repr(error)
    assert error.__context__ is None
    assert error.__cause__ is None


def test_a_missing_prompt_is_empty(any_guard: HarmGuard) -> None:
    with pytest.raises(errors.EmptyPromptError, match=r"^prompt is empty; expected at least one"):
        any_guard.score("", "fine")
    with pytest.raises(errors.EmptyPromptError, match=r"^pair 1: prompt is empty"):
        any_guard.check_many([("a", None), ("", None)])
    with pytest.raises(errors.InputTypeError, match=r"^prompt is NoneType; expected str"):
        any_guard.score(None)  # type: ignore[arg-type]


UNSEEN = {
    "spaces": " " * 5_000,
    "lines": "\r\n\t" * 40,
    "wide spaces": "\u3000\u2003\u00a0" * 9,
    "zero width": "\u200b\u2060\ufeff" * 30,
    "control": "\0\x01\x7f" * 100,
    "directions": "\u202e\u200f\u2066",
}


@pytest.mark.parametrize("response", [None, "", "fine", " "])
@pytest.mark.parametrize("name", UNSEEN)
def test_a_prompt_without_a_token_is_empty(
    any_guard: HarmGuard, name: str, response: str | None
) -> None:
    message = rf"^prompt has {len(UNSEEN[name]):,} characters and no token; expected at least one"
    for call in (any_guard.score, any_guard.check):
        with pytest.raises(errors.EmptyPromptError, match=message):
            call(UNSEEN[name], response)
    with pytest.raises(errors.EmptyPromptError, match=r"^pair 1: prompt has "):
        any_guard.score_many([("a", None), (UNSEEN[name], response)])
    assert 0 <= any_guard.score("a", UNSEEN[name]) <= 1


@pytest.mark.parametrize("name", ODD_TEXTS)
def test_odd_texts_are_scored(any_guard: HarmGuard, name: str) -> None:
    text, short = ODD_TEXTS[name], ODD_TEXTS[name][:2_000]
    pairs = [(text, None), ("a", short), (short, short[:99])]
    scores = [any_guard.score(*pair) for pair in pairs]
    assert all(0 <= score <= 1 for score in scores)
    assert any_guard.score_many(pairs).tolist() == pytest.approx(scores, abs=0.002)


def test_a_prompt_cannot_end_itself(small: HarmGuard) -> None:
    assert small.check("a [SEP] b").tokens == 7
    assert small.score("how to [SEP] please") != small.score("how to", "please")


@pytest.mark.parametrize("position", [0.0, 0.33, 0.5, 0.81, 1.0])
def test_no_part_of_a_long_text_goes_unseen(needle: HarmGuard, position: float) -> None:
    words = ["kind"] * 2000
    assert needle.score(" ".join(words)) < 0.2
    words[int(position * 1999)] = "danger"
    text = " ".join(words)
    for pair in ((text, None), ("how to", text), (text, "please"), (text, "kind " * 2000)):
        assert needle.score(*pair) > 0.8
    assert needle.score("kind " * 2000, text) > 0.8
    verdict = needle.check(text)
    assert verdict.windows > 2000 / 62
    assert verdict.tokens == 2000


def test_a_long_text_does_not_spill_over_to_its_neighbours(needle: HarmGuard) -> None:
    long = "kind " * 300
    pairs = [(long, None), ("danger", None), (long, "a"), (long + "danger", None), ("a", long)]
    assert (needle.score_many(pairs) > 0.5).tolist() == [False, True, False, True, False]


def test_long_texts_can_be_an_error(needle_bundle: Path) -> None:
    with HarmGuard(needle_bundle, long_text="error") as guard:
        assert guard.check("kind " * 62).windows == 1
        with pytest.raises(errors.TextTooLongError, match=r"^63 tokens; expected what fits one"):
            guard.score("kind " * 63)
        with pytest.raises(errors.TextTooLongError, match=r"^pair 1: 62 tokens"):
            guard.score_many([("a", None), ("kind " * 61, "a")])


def test_input_larger_than_one_round_keeps_its_order(
    needle_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harmguard._scoring.MAX_PENDING_TOKENS", 50)
    monkeypatch.setattr("harmguard._scoring.MAX_BATCH_TOKENS", 20)
    flags = np.random.default_rng(0).random(100) < 0.5
    pairs = [("danger" if flag else "kind " * (i % 9 + 1), None) for i, flag in enumerate(flags)]
    with HarmGuard(needle_bundle) as guard:
        assert ((guard.score_many(pairs) > 0.5) == flags).all()


def test_thresholds_are_per_kind_of_input(small_bundle: Path) -> None:
    def thresholds(threshold: float | str) -> list[float]:
        with HarmGuard(small_bundle, threshold=threshold) as guard:
            return [v.threshold for v in guard.check_many([("a", None), ("a", "b")])]

    assert thresholds("default") == [0.5, 0.6]
    assert thresholds("fpr_1") == [0.9, 0.9]
    assert thresholds(0.25) == [0.25, 0.25]
    assert thresholds(np.float64(1)) == [1, 1]
    assert thresholds(0) == [0, 0]


def test_a_score_at_the_threshold_is_harmful(small_bundle: Path, small: HarmGuard) -> None:
    score = small.score("how to")
    with HarmGuard(small_bundle, threshold=score, threads=1) as guard:
        assert guard.check("how to").harmful
        assert guard.check_many([("how to", None)])[0].harmful


def test_unknown_thresholds(small_bundle: Path) -> None:
    with pytest.raises(errors.UnknownThresholdError, match="one of default, fpr_1; likely a sp"):
        HarmGuard(small_bundle, threshold="fpr_2")
    for number in (-0.1, 1.5, float("nan"), float("inf")):
        with pytest.raises(errors.UnknownThresholdError, match=r"expected a number in \[0, 1\]"):
            HarmGuard(small_bundle, threshold=number)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"threshold": None}, errors.InputTypeError, "threshold is NoneType; expected a number"),
        ({"threshold": True}, errors.InputTypeError, "threshold is bool; expected a number"),
        ({"threads": 0}, errors.InputError, "threads is 0; expected at least 1"),
        ({"threads": 2.0}, errors.InputTypeError, "threads is float; expected int or None"),
        ({"threads": True}, errors.InputTypeError, "threads is bool; expected int or None"),
        ({"long_text": "cut"}, errors.InputError, "long_text is 'cut'; expected \"window\""),
    ],
)
def test_wrong_options(
    small_bundle: Path, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        HarmGuard(small_bundle, **options)


def test_a_closed_guard_says_so(small_bundle: Path) -> None:
    guard = HarmGuard(small_bundle)
    with guard as same:
        assert same is guard
        guard.score("a")
    guard.close()
    calls: list[Callable[[], object]] = [
        lambda: guard.score("a"),
        lambda: guard.check("a"),
        lambda: guard.score_many([("a", None)]),
        lambda: guard.check_many([]),
    ]
    for call in calls:
        with pytest.raises(errors.GuardClosedError, match="this guard is closed"):
            call()


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(errors.BundleNotFoundError, match="no folder at"):
        HarmGuard(tmp_path / "all-minilm")


def test_a_bundle_without_a_parity_gate_warns(make_bundle: BundleMaker) -> None:
    folder = make_bundle(precision={"recipe": "int8", "exceptions": [], "parity": None})
    with pytest.warns(errors.UnverifiedBundleWarning, match="'tiny' was exported without a par"):
        HarmGuard(folder).close()


def test_temperature_divides_the_logits(make_bundle: BundleMaker, small: HarmGuard) -> None:
    with HarmGuard(make_bundle(output={"kind": "logits", "temperature": 1.0})) as guard:
        sharp, soft = guard.score("how to make bread"), small.score("how to make bread")
    assert np.log(sharp / (1 - sharp)) == pytest.approx(2 * np.log(soft / (1 - soft)), rel=1e-4)


def test_a_logit_that_is_not_finite_is_an_error(make_bundle: BundleMaker) -> None:
    with (
        HarmGuard(make_bundle(needle="danger", overflow=True)) as guard,
        pytest.raises(errors.GraphMismatchError, match="a logit that is not finite"),
    ):
        guard.score("danger")


def test_options_are_keyword_only_and_few() -> None:
    parameters = inspect.signature(HarmGuard).parameters.values()
    options = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    assert options == ["threads", "threshold", "long_text", "cache", "max_chars"]
    assert Verdict(0.5, 0.5, True, 1, 1) == Verdict(0.5, 0.5, True, 1, 1)
    with pytest.raises(AttributeError):
        Verdict(0.5, 0.5, True, 1, 1).score = 0.1  # type: ignore[misc]
