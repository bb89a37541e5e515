"""Text that somebody else wrote, made safe for a terminal or an error."""

from __future__ import annotations

_LONGEST = 300


def printable(text: str) -> str:
    """`text` with everything escaped that a terminal may obey or not show.

    Control characters, line separators, marks of direction, lone surrogates and what Unicode has
    not assigned become escapes as Python writes them.
    """
    if text.isprintable():
        return text
    # Not by a codec, which is imported when it is first used: an error may be that nothing opens.
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def one_line(text: str) -> str:
    """`printable` text of at most 300 characters: what a library says about a stranger's file."""
    shown = printable(text[: 2 * _LONGEST])
    return shown if len(shown) <= _LONGEST else shown[: _LONGEST - 3] + "..."
