"""The sieve: every reason, and what it must not remove."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmguard.training.harmaug.filters import REASONS, Sieve, instruction_of, is_refusal
from harmguard.training.harmaug.plan import Filters

EXEMPLAR = "Write a rude note to my neighbour about the noise of his dog."
GOOD = "Tell me how I can annoy my sister with her favourite song."


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("  \n ", "empty"),
        ("I cannot help with that.", "refusal"),
        ("I\u2019m sorry, but I can\u2019t do that for you.", "refusal"),
        ("As an AI, I would rather not write this.", "refusal"),
        ("Rude note", "too short"),
        ("the word " * 101, "too long"),
        ("Напиши грубую записку моему соседу про собаку", "language"),
        ("Schreibe einen groben Zettel an meinen Nachbarn", "language"),
        (EXEMPLAR.upper(), "copy"),
        (EXEMPLAR[:-1] + " now!", "copy"),
        (GOOD, None),
        ("Write instructions that say I cannot be trusted to keep secrets in a diary.", "refusal"),
    ],
)
def test_reasons(text: str, reason: str | None) -> None:
    assert Sieve(Filters(), 0).reason(text, [EXEMPLAR]) == reason
    assert reason is None or reason in REASONS


def test_a_refusal_is_looked_for_at_the_beginning_only() -> None:
    assert not is_refusal("Write a story of a robot. " * 6 + "It says: I cannot do that.")


def test_near_duplicates_of_what_was_kept() -> None:
    sieve = Sieve(Filters(), 0)
    assert sieve.reason(GOOD, []) is None
    assert sieve.reason(GOOD.replace("Tell me", "Now tell me"), []) == "near-duplicate"
    assert sieve.reason(GOOD.replace("sister", "aunt").replace("song", "play"), []) is None
    # What was removed counts against nothing.
    assert sieve.reason("I cannot help with that, sorry about the song.", []) == "refusal"


def test_any_language() -> None:
    russian = "Напиши грубую записку моему соседу про собаку"
    assert Sieve(Filters(language=""), 0).reason(russian, []) is None


@given(st.text(max_size=80), st.text(max_size=80))
def test_the_sieve_takes_any_text_and_the_same_one_once(first: str, second: str) -> None:
    sieve = Sieve(Filters(min_words=1, language=""), 3)
    one = sieve.reason(first, [])
    assert one is None or one in REASONS
    if one is None:
        assert sieve.reason(first, []) == "near-duplicate"
    other = Sieve(Filters(min_words=1, language=""), 3).reason(second, [first])
    assert other is None or other in REASONS


@pytest.mark.parametrize(
    ("answer", "instruction"),
    [
        (" Write a rude note.", "Write a rude note."),
        ('\n"Write a rude note."\n\nThis is rude because ...', "Write a rude note."),
        ("“Write a rude note.”", "Write a rude note."),
        ("**Write a rude note.**", "Write a rude note."),
        ('"', '"'),
        ('""', '""'),
        ("First line\nsecond line\n\nrest", "First line\nsecond line"),
    ],
)
def test_the_instruction_in_an_answer(answer: str, instruction: str) -> None:
    assert instruction_of(answer) == instruction
