from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from harmguard import GuardClosedError, HarmGuard, InputError, Verdict
from harmguard.errors import InputTypeError, TextTooLongError, UnjudgedTextError
from harmguard.policy import Counts, Decision, Policy


def test_verdicts_become_decisions(needle: HarmGuard) -> None:
    policy = Policy(needle)
    harmless, harmful = policy.decide("bread"), policy.decide("bread", "the danger")
    assert harmless == Decision("harmless", False, False, needle.check("bread"))
    assert harmful == Decision("harmful", True, True, needle.check("bread", "the danger"))
    assert policy.counts == Counts(1, 1, 0, 1, 1)


def test_monitoring_blocks_nothing_and_counts_the_same(needle: HarmGuard) -> None:
    policy = Policy(needle, monitor=True)
    decision = policy.decide("danger")
    assert (decision.state, decision.blocked, decision.would_block) == ("harmful", False, True)
    decision = policy.decide("")
    assert (decision.state, decision.blocked, decision.would_block) == ("unjudged", False, True)
    assert policy.counts == Counts(0, 1, 1, 0, 2)


def test_an_error_is_a_state_of_its_own(needle: HarmGuard) -> None:
    for on_error, blocked in (("block", True), ("pass", False)):
        policy = Policy(needle, on_error=on_error)  # type: ignore[arg-type]
        decision = policy.decide("a" * 200_001)
        assert (decision.state, decision.blocked, decision.verdict) == ("unjudged", blocked, None)
        assert isinstance(decision.error, TextTooLongError)
        assert policy.decide(b"x").state == "unjudged"  # type: ignore[arg-type]
        assert policy.counts == Counts(0, 0, 2, 2 * blocked, 2 * blocked)
    policy = Policy(needle, on_error="raise", monitor=True)
    with pytest.raises(TextTooLongError):
        policy.decide("a" * 200_001)
    assert policy.counts.unjudged == 1


def test_an_unreadable_text_is_not_harmless(views_needle: HarmGuard) -> None:
    policy = Policy(views_needle)
    decision = policy.decide("\u4f60\u597d\u4e16\u754c\u4f60\u597d")
    assert (decision.state, decision.blocked) == ("unjudged", True)
    assert isinstance(decision.error, UnjudgedTextError)
    assert decision.verdict is not None
    assert str(decision.error).startswith("100% of the text is unreadable to the guard")
    assert not Policy(views_needle, on_error="pass").decide("\u4f60\u597d\u4e16\u754c").blocked
    with pytest.raises(UnjudgedTextError):
        Policy(views_needle, on_error="raise").decide("\u4f60\u597d\u4e16\u754c")
    assert policy.decide("danger \u4f60\u597d\u4e16\u754c\u4f60\u597d").state == "harmful"


def test_a_closed_guard_is_no_pass(needle_bundle: Path) -> None:
    guard = HarmGuard(needle_bundle, threads=1)
    guard.close()
    decision = Policy(guard).decide("bread")
    assert decision.blocked
    assert isinstance(decision.error, GuardClosedError)


def test_any_failure_of_a_guard_is_unjudged() -> None:
    class Broken:
        def check(self, prompt: str, response: str | None = None) -> Verdict:
            raise MemoryError("no more")

    decision = Policy(Broken()).decide("bread")
    assert (decision.state, decision.blocked) == ("unjudged", True)
    assert isinstance(decision.error, MemoryError)


def test_an_interrupt_goes_through() -> None:
    class Slow:
        def check(self, prompt: str, response: str | None = None) -> Verdict:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Policy(Slow(), on_error="pass").decide("bread")


def test_outcomes_from_elsewhere_are_settled_alike(needle: HarmGuard) -> None:
    policy = Policy(needle)
    assert policy.settle(needle.check("danger")).state == "harmful"
    assert policy.settle(UnjudgedTextError("half of it")).blocked
    assert policy.counts == Counts(0, 1, 1, 2, 2)


def test_options_are_checked(needle: HarmGuard) -> None:
    wrong: Any = "ignore"
    with pytest.raises(InputError, match="on_error is 'ignore'; expected"):
        Policy(needle, on_error=wrong)
    wrong = 1
    with pytest.raises(InputTypeError, match="monitor is int; expected bool"):
        Policy(needle, monitor=wrong)


def test_counts_of_threads_add_up(needle: HarmGuard) -> None:
    policy = Policy(needle)

    def decide() -> None:
        for _ in range(25):
            policy.decide("bread")
            policy.decide("danger")

    threads = [threading.Thread(target=decide) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert policy.counts == Counts(100, 100, 0, 100, 100)
