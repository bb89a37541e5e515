from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmguard.core.text import one_line, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain caf\u00e9 \u6f22\u5b57", "plain caf\u00e9 \u6f22\u5b57"),
        ("a\u202eb\u202c", "a\\u202eb\\u202c"),
        ("\u2066x\u2069\u200f\u061c", "\\u2066x\\u2069\\u200f\\u061c"),
        ("a\u2028b\u2029c\x85d", "a\\u2028b\\u2029c\\x85d"),
        ("\x1b[31mred\x07\r\n", "\\x1b[31mred\\x07\\r\\n"),
        ("\ud800\U000e0041\ufeff", "\\ud800\\U000e0041\\ufeff"),
    ],
)
def test_what_a_terminal_obeys_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text())
def test_any_text_becomes_printable(text: str) -> None:
    assert printable(text).isprintable()
    assert len(one_line(text)) <= 300
    assert one_line(text).isprintable()


def test_long_text_is_cut() -> None:
    assert one_line("x" * 301) == "x" * 297 + "..."
    assert one_line("x" * 300) == "x" * 300
    assert len(one_line("\n" * 10_000)) == 300
