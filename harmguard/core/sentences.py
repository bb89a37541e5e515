"""Where a text is cut into sentences: by fixed tables, one character after the other.

docs/bundle-format.md has the rule in words, and the conformance vectors its results: a port
follows it. It looks at most one character ahead, so that a stream is cut in the same places
however its text comes in.
"""

from __future__ import annotations

from dataclasses import dataclass, field

SPACED_ENDS = ".!?\u2026\u061f\u06d4\u0589\u1362"
"""Marks that end a sentence if a space follows: Latin, Arabic, Urdu, Armenian, Ethiopic."""
WIDE_ENDS = "\u3002\uff01\uff1f\uff0e\uff61\u0964\u0965"
"""Marks that end a sentence whatever follows: ideographic, full-width, Devanagari."""
CLOSERS = "\"')]}*_\u00bb\u2019\u201d\u203a\u300d\u300f\u3011\uff09\uff02\uff07"
"""What may stand between a mark and the end: quotes, brackets, emphasis."""
LINES = "\n\u000b\u000c\u0085\u2028\u2029"
"""Characters that end a line, and with it a sentence."""
SPACES = " \t\r\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a" + (
    "\u202f\u205f\u3000"
)
"""White space within a line."""

SENTENCE = 12
"""The least characters of a sentence, white space not counted: "1." and "Dr." are none."""
LONGEST = 240
"""The most characters of a sentence, white space counted: code and Thai have no ends."""

_OTHER, _LINE, _SPACE, _SPACED, _WIDE, _CLOSER = range(6)
_KINDS = {
    **dict.fromkeys(LINES, _LINE),
    **dict.fromkeys(SPACES, _SPACE),
    **dict.fromkeys(SPACED_ENDS, _SPACED),
    **dict.fromkeys(WIDE_ENDS, _WIDE),
    **dict.fromkeys(CLOSERS, _CLOSER),
}


@dataclass(slots=True)
class Cutter:
    """Finds the ends of sentences in a text that comes in pieces.

    `least` characters, white space not counted, are in every sentence but the last, and none has
    more than `most`.
    """

    least: int = SENTENCE
    most: int = LONGEST
    _at: int = field(default=0, init=False)
    _start: int = field(default=0, init=False)
    _solid: int = field(default=0, init=False)
    _mark: int = field(default=_OTHER, init=False)
    _gap: int = field(default=0, init=False)
    _solid_at_gap: int = field(default=0, init=False)

    def push(self, text: str) -> list[int]:
        """The ends that `text` brings, as offsets from the first character of all pieces.

        An end may lie before `text`: a mark is an end once the next character is seen, and a
        sentence that grows too long is cut where its last space was.
        """
        ends: list[int] = []
        for kind in map(_KINDS.get, text):
            if self._mark == _WIDE and kind is None and self._solid >= self.least:
                self._end(self._at, 0, ends)
            self._at += 1
            if kind is None:
                self._mark = _OTHER
                self._solid += 1
            elif kind in (_LINE, _SPACE):
                self._white(kind, ends)
            else:
                self._solid += 1
                if kind != _CLOSER and self._mark != _WIDE:
                    self._mark = kind
            if self._at - self._start >= self.most:
                self._cut(ends)
        return ends

    def _white(self, kind: int, ends: list[int]) -> None:
        closed = kind == _LINE or self._mark != _OTHER
        self._mark = _OTHER
        self._gap, self._solid_at_gap = self._at, self._solid
        if closed and self._solid >= self.least:
            self._end(self._at, 0, ends)

    def _cut(self, ends: list[int]) -> None:
        """End the sentence at its last space, if that is in its second half, or here."""
        if self._gap - self._start >= self.most // 2:
            self._end(self._gap, self._solid - self._solid_at_gap, ends)
        else:
            self._end(self._at, 0, ends)

    def _end(self, at: int, solid: int, ends: list[int]) -> None:
        ends.append(at)
        self._start, self._solid = at, solid
        if not solid:
            self._mark = _OTHER


def sentences(text: str, least: int = SENTENCE, most: int = LONGEST) -> list[tuple[int, int]]:
    """The sentences of a text as half-open offsets in code points; together they are all of it.

    What is left at the end with nothing but white space belongs to the sentence before it.
    """
    cutter = Cutter(least, most)
    ends = cutter.push(text)
    rest = text[ends[-1] :] if ends else text
    if ends and not rest.strip(LINES + SPACES):
        ends[-1] = len(text)
    elif rest:
        ends.append(len(text))
    return list(zip([0, *ends], ends, strict=False))
