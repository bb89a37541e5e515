from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmguard.core.sentences import (
    CLOSERS,
    LINES,
    LONGEST,
    SENTENCE,
    SPACED_ENDS,
    SPACES,
    WIDE_ENDS,
    Cutter,
    sentences,
)

ALPHABET = "ab1 .!?\n\r\t\"')”。！」\u200d\U0001f600é"


def cut(text: str, least: int = SENTENCE, most: int = LONGEST) -> list[str]:
    return [text[start:end] for start, end in sentences(text, least, most)]


def test_a_mark_and_a_space_end_a_sentence() -> None:
    assert cut("This is the first. This is the second! And the third?") == [
        "This is the first. ",
        "This is the second! ",
        "And the third?",
    ]


def test_quotes_and_brackets_belong_to_the_sentence_that_they_close() -> None:
    text = 'She said "leave it alone." (And so he did.) Then *it was over.* The end of it.'
    assert cut(text)[:3] == [
        'She said "leave it alone." ',
        "(And so he did.) ",
        "Then *it was over.* ",
    ]


def test_numbers_abbreviations_and_list_marks_are_no_sentences() -> None:
    assert cut("Dr. Lee paid 3.14 dollars to example.com for it. Yes.") == [
        "Dr. Lee paid 3.14 dollars to example.com for it. ",
        "Yes.",
    ]
    assert cut("1. Mix the flour\n2. Bake the bread\n") == [
        "1. Mix the flour\n",
        "2. Bake the bread\n",
    ]


@pytest.mark.parametrize("line", LINES)
def test_a_line_ends_a_sentence(line: str) -> None:
    assert cut(f"one line of code{line}another line of it") == [
        f"one line of code{line}",
        "another line of it",
    ]


@pytest.mark.parametrize("mark", WIDE_ENDS)
def test_wide_marks_need_no_space_and_take_their_closers(mark: str) -> None:
    first = "一二三四五六七八九十一二" + mark
    assert cut(first + "」第二句") == [first + "」", "第二句"]


@pytest.mark.parametrize("mark", SPACED_ENDS)
def test_other_marks_need_a_space(mark: str) -> None:
    assert cut(f"abcdefghijklm{mark}nopq") == [f"abcdefghijklm{mark}nopq"]
    assert cut(f"abcdefghijklm{mark} nopq") == [f"abcdefghijklm{mark} ", "nopq"]


def test_a_text_without_ends_is_cut_at_a_space_and_without_spaces_anywhere() -> None:
    words = cut("word " * 200)
    assert [len(part) for part in words[:-1]] == [LONGEST] * (len(words) - 1)
    assert all(part.endswith(" ") for part in words)
    late = "a" * 200 + " " + "b" * 300
    assert [len(part) for part in cut(late)] == [201, 240, 60]
    assert [len(part) for part in cut("x" * 1000)] == [240, 240, 240, 240, 40]


def test_white_space_alone_is_no_sentence_of_its_own() -> None:
    assert cut("The whole of the text.\n\n \t\n") == ["The whole of the text.\n\n \t\n"]
    assert cut(" \n ") == [" \n "]
    assert cut("") == []


def test_tables_do_not_overlap() -> None:
    tables = SPACED_ENDS + WIDE_ENDS + CLOSERS + LINES + SPACES
    assert len(set(tables)) == len(tables)
    assert set(LINES + SPACES) == {c for c in map(chr, range(0x3001)) if c.isspace()} - set(
        "\x1c\x1d\x1e\x1f"
    )


@given(st.text(st.sampled_from(ALPHABET), max_size=600), st.randoms(use_true_random=False))
def test_pieces_of_a_text_are_cut_as_the_whole(text: str, rng: random.Random) -> None:
    whole = Cutter(8, 40).push(text)
    cutter, ends, at = Cutter(8, 40), [], 0
    while at < len(text):
        size = rng.randint(1, 9)
        ends += cutter.push(text[at : at + size])
        at += size
    assert ends == whole


@given(st.text(st.sampled_from(ALPHABET), max_size=600), st.integers(1, 12))
def test_sentences_are_the_text_none_empty_none_too_long(text: str, least: int) -> None:
    parts = cut(text, least, 40)
    assert "".join(parts) == text
    assert all(parts)
    assert all(len(part) <= 40 for part in parts[:-1])
    for part in parts[:-1]:
        assert sum(c not in LINES + SPACES for c in part) >= min(least, 12)


@given(st.text(max_size=300))
def test_any_text_can_be_cut(text: str) -> None:
    assert "".join(cut(text)) == text
