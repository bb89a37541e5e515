from __future__ import annotations

import json

from harmguard.core.sentences import LONGEST, SENTENCE
from tests.conformance.sentences import RULES, VECTORS, lines


def test_the_vectors_are_what_the_code_gives() -> None:
    kept = [json.loads(line) for line in VECTORS.read_text(encoding="ascii").splitlines()]
    assert kept == lines()


def test_the_vectors_have_every_case() -> None:
    assert RULES["explain"] == (SENTENCE, LONGEST)
    head, *cut = lines()
    text = "".join(line["text"] for line in cut)
    for table in ("spaced_ends", "wide_ends", "closers", "lines", "spaces"):
        assert set(head[table]) & set(text), table
    assert any(line["stream"] for line in cut)
