from __future__ import annotations

import re
from collections import Counter

from harmguard.training.corpora import contrast
from harmguard.training.corpora.contrast import contrast_rows


def test_every_group_is_named_in_benign_and_in_hostile_rows() -> None:
    rows = contrast_rows(0, [])
    counts = Counter((row.id.split("/")[1], row.label, row.kind) for row in rows)
    assert counts == {
        ("kind", 0, "prompt"): 1400,
        ("hostile", 1, "prompt"): 900,
        ("grumbling", 0, "prompt"): len(contrast.GRUMBLING) * len(contrast.THINGS),
        ("swearing", 0, "prompt"): len(contrast.SWEARING),
        ("answer", 0, "exchange"): 250,
    }
    for label in (0, 1):
        text = " ".join(row.prompt for row in rows if row.label == label).lower()
        assert [g for g in contrast.GROUPS if g.lower() not in text] == []
    assert len({row.id for row in rows}) == len(rows)
    assert {(row.licence, row.source) for row in rows} == {("permissive", "contrast_made")}


def test_no_placeholder_is_left_and_every_text_is_non_empty() -> None:
    for row in contrast_rows(1, []):
        for text in (row.prompt, row.response or "x"):
            assert text.strip()
            assert "{" not in text


def test_the_same_seed_makes_the_same_rows() -> None:
    assert contrast_rows(3, []) == contrast_rows(3, [])
    assert contrast_rows(3, []) != contrast_rows(4, [])


def test_rows_close_to_held_out_texts_are_left_out() -> None:
    held_out = ["My new colleagues are women.", "Well, survey asked Jews about their commute?"]
    before = {row.prompt for row in contrast_rows(0, []) if row.label == 0}
    after = {row.prompt for row in contrast_rows(0, held_out) if row.label == 0}
    words = {" ".join(re.findall(r"\w+", text.lower())) for text in after}
    assert "my new colleagues are women" not in words
    assert "the survey asked jews about their commute" not in words
    assert any("colleagues" in text for text in after)
    assert before != after
