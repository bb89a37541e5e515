from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harmguard import HarmGuard
from harmguard.errors import EmptyPromptError, InputTypeError
from harmguard.explain import MOST_PARTS, Explanation, Part, parts_of

SAFE = "the bread is safe and kind. please make a kind bread. how is the safe answer? "
BAD = "the danger is a bad thing. "


def test_the_harmful_sentence_is_named_first(needle: HarmGuard) -> None:
    text = SAFE + BAD + SAFE
    found = needle.explain("how to make bread", text)
    assert [text[part.start : part.end] for part in found.named] == [BAD]
    assert found.verdict == needle.check("how to make bread", text)
    assert found.of == "response"
    assert not found.spread
    (named,) = found.named
    assert named.drop == pytest.approx(4, abs=1e-3)  # 8 logits at temperature 2
    assert named.alone > 0
    others = [part for part in found.parts if part is not named]
    assert all(part.drop == pytest.approx(0, abs=1e-5) for part in others)
    assert all(part.alone < 0 for part in others)


def test_a_prompt_alone_is_explained_too(needle: HarmGuard) -> None:
    text = SAFE + BAD
    found = needle.explain(text)
    assert found.of == "prompt"
    assert [text[part.start : part.end] for part in found.named] == [BAD]


def test_nothing_flagged_nothing_named(needle: HarmGuard) -> None:
    found = needle.explain("bread", SAFE * 3)
    assert not found.verdict.harmful
    assert (found.named, found.spread) == ((), False)
    assert len(found.parts) == 9


def test_harm_in_all_parts_says_so(needle: HarmGuard) -> None:
    found = needle.explain("bread", BAD * 4)
    assert found.spread
    assert len(found.named) == 4


def test_harm_of_the_prompt_is_in_all_parts(needle: HarmGuard) -> None:
    found = needle.explain("danger", SAFE)
    assert found.spread
    assert len(found.named) == len(found.parts) == 3


def test_a_single_sentence_and_an_empty_answer(needle: HarmGuard) -> None:
    found = needle.explain("bread", BAD)
    assert found.named == found.parts
    assert (found.parts[0].start, found.parts[0].end, found.parts[0].drop) == (0, len(BAD), 0)
    assert not found.spread
    found = needle.explain("bread", "")
    assert (found.parts, found.named) == ((), ())
    found = needle.explain("danger", "")
    assert found.verdict.harmful
    assert (found.parts, found.named) == ((), ())


def test_long_texts_are_explained_in_groups(needle: HarmGuard) -> None:
    text = SAFE * 40 + BAD + SAFE * 40
    found = needle.explain("bread", text)
    assert 32 < len(found.parts) <= MOST_PARTS
    assert [BAD in text[part.start : part.end] for part in found.named] == [True]
    assert "".join(text[part.start : part.end] for part in found.parts) == text


def test_logits_add_up(small: HarmGuard) -> None:
    """Parts are ranked by `part`, and drop is the loss in the guard's own logits."""
    found = small.explain("bread", SAFE * 2)
    first = found.parts[0]
    whole, less = (small.score("bread", t) for t in (SAFE * 2, (SAFE * 2)[first.end :]))
    assert first.drop == pytest.approx(logit(whole) - logit(less), abs=1e-4)
    assert isinstance(found, Explanation)
    assert all(isinstance(part, Part) for part in found.parts)
    named = [part.part for part in found.named]
    assert named == sorted(named, reverse=True)


def logit(p: float) -> float:
    import math

    return math.log(p / (1 - p))


def test_wrong_texts_are_refused_by_name(needle: HarmGuard) -> None:
    with pytest.raises(InputTypeError, match="response is bytes"):
        needle.explain("bread", b"x")  # type: ignore[arg-type]
    with pytest.raises(InputTypeError, match="prompt is int"):
        needle.explain(3)  # type: ignore[arg-type]
    with pytest.raises(EmptyPromptError):
        needle.explain("")


def test_offsets_are_of_the_original_text_in_other_views(views_needle: HarmGuard) -> None:
    """What is hidden is found, and named where it stands in the string that was passed in."""
    hidden = "".join(chr(0xE0000 + ord(c)) for c in "the danger is here")
    cyrillic = "the d\u0430ng\u0435r is here. "
    for inner in (cyrillic, f"the kind bread{hidden} is here. "):
        text = SAFE + "\U0001f600 caf\u00e9! " + inner + SAFE
        found = views_needle.explain("bread", text)
        assert found.verdict.view != "text"
        assert "".join(text[part.start : part.end] for part in found.parts) == text
        (named,) = found.named
        assert inner[:-1] in text[named.start : named.end]


def test_utf16_readers_can_turn_offsets(needle: HarmGuard) -> None:
    """As docs/explain.md says."""
    text = "\U0001f600\U0001f600 is a kind smile. " + BAD
    (named,) = needle.explain("bread", text).named
    start = len(text[: named.start].encode("utf-16-le")) // 2
    assert start == named.start + 2
    end = len(text[: named.end].encode("utf-16-le")) // 2
    assert text.encode("utf-16-le")[2 * start : 2 * end].decode("utf-16-le") == BAD


@given(st.text(max_size=200))
def test_parts_are_all_of_any_text(text: str) -> None:
    spans = parts_of(text)
    assert "".join(text[start:end] for start, end in spans) == text
    if len(spans) > 1:
        assert all(any(c.isalnum() for c in text[start:end]) for start, end in spans)
    assert len(spans) <= MOST_PARTS


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from([SAFE, BAD, "\U0001f600!\n", "e\u0301\u200d. ", "\u4f60\u597d\u3002"]))
)
def test_offsets_are_of_the_original_text(needle: HarmGuard, pieces: list[str]) -> None:
    text = "".join(pieces)
    found = needle.explain("bread", text)
    assert "".join(text[part.start : part.end] for part in found.parts) == text
    assert bool(found.named) == (BAD in pieces)
    for part in found.named:
        assert "danger" in text[part.start : part.end]
