from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import Unigram

from harmguard.core.encode import (
    Encoded,
    PairEncoder,
    Template,
)
from harmguard.errors import ManifestError, TokenizerError

from .pieces import SPECIALS
from .pieces import tokenizer as unigram_tokenizer

WORD = "bread "


@pytest.fixture(scope="module")
def tokenizer(plain_tokenizer: Tokenizer) -> Tokenizer:
    return plain_tokenizer


@pytest.fixture(scope="module")
def encoder(tokenizer: Tokenizer) -> PairEncoder:
    return PairEncoder(tokenizer, Template.from_tokenizer(tokenizer), 64)


def _tokens(encoder: PairEncoder, text: str) -> list[str | None]:
    return [encoder._tokenizer.id_to_token(id_) for id_ in encoder.ids(text)]


def test_template_is_read_off_the_tokenizer(tokenizer: Tokenizer) -> None:
    template = Template.from_tokenizer(tokenizer)
    assert [p.token or p.text for p in template.prompt] == ["[CLS]", "prompt", "[SEP]"]
    exchange = [(p.token or p.text, p.type) for p in template.exchange]
    assert exchange == [
        ("[CLS]", 0),
        ("prompt", 0),
        ("[SEP]", 0),
        ("response", 1),
        ("[SEP]", 1),
    ]
    assert Template.from_json(template.to_json()) == template


@pytest.mark.parametrize("setting", ["padding", "truncation"])
def test_a_tokenizer_that_cuts_or_pads_is_refused(tokenizer: Tokenizer, setting: str) -> None:
    template = Template.from_tokenizer(tokenizer)
    other = Tokenizer.from_str(tokenizer.to_str())
    if setting == "padding":
        other.enable_padding(length=128)
    else:
        other.enable_truncation(128)
    with pytest.raises(TokenizerError, match="expected both null"):
        Template.from_tokenizer(other)
    with pytest.raises(TokenizerError, match="expected both null"):
        PairEncoder(other, template, 64)


def test_a_tokenizer_without_special_tokens_has_no_template(tokenizer: Tokenizer) -> None:
    other = Tokenizer.from_str(tokenizer.to_str())
    other.post_processor = None
    with pytest.raises(TokenizerError, match="adds no special tokens"):
        Template.from_tokenizer(other)


@pytest.mark.parametrize(
    "pieces",
    [
        None,
        [{"token": "[CLS]", "type": 0}],
        [{"text": "prompt", "id": 3, "type": 0}],
        [{"text": "prompt", "type": 0, "colour": 1}],
        [7],
    ],
)
def test_an_unreadable_template_is_refused(pieces: Any) -> None:
    with pytest.raises(ManifestError, match=r"input\.template\.prompt: unreadable"):
        Template.from_json({"prompt": pieces})


def test_a_template_with_the_wrong_texts_is_refused() -> None:
    with pytest.raises(ManifestError, match="texts must be"):
        Template.from_json({"prompt": [{"text": "response", "type": 0}]})


def test_a_window_needs_room_for_text(tokenizer: Tokenizer) -> None:
    with pytest.raises(ManifestError, match="max_tokens is 6, which leaves less than 4 tokens"):
        PairEncoder(tokenizer, Template.from_tokenizer(tokenizer), 6)


def test_a_pair_that_fits_is_what_the_tokenizer_makes_of_it(
    encoder: PairEncoder, tokenizer: Tokenizer
) -> None:
    for texts in (("how to make bread",), ("how to", "the answer!"), ("a", "")):
        (window,) = encoder.encode(*texts).windows
        reference = tokenizer.encode(*texts)
        assert window.ids.tolist() == reference.ids
        assert window.types.tolist() == reference.type_ids
        assert window.ids.dtype == window.types.dtype == np.int64


def test_literal_special_tokens_are_ordinary_text(encoder: PairEncoder) -> None:
    text = "[CLS] [SEP] [PAD] [MASK] [UNK]"
    assert _tokens(encoder, "[SEP]") == ["[", "s", "##e", "##p", "]"]
    (window,) = encoder.encode(text, text).windows
    specials = [encoder._tokenizer.token_to_id(t) for t in ("[CLS]", "[SEP]", "[PAD]", "[MASK]")]
    assert [id_ for id_ in window.ids.tolist() if id_ in specials] == [2, 3, 3]


def test_reserved_ids_never_come_from_text_with_a_vocabulary_that_holds_them() -> None:
    # A Unigram vocabulary lists its special tokens as pieces, so plain text can match them.
    pieces = [("[CLS]", 0.0), ("[SEP]", 0.0), ("[UNK]", 0.0)]
    pieces += [(letter, -9.0) for letter in "[]CLSEPab "]
    tokenizer = Tokenizer(Unigram(pieces, unk_id=2, byte_fallback=False))
    template = Template.from_json(
        {
            "prompt": [
                {"token": "[CLS]", "id": 0, "type": 0},
                {"text": "prompt", "type": 0},
                {"token": "[SEP]", "id": 1, "type": 0},
            ],
            "exchange": [
                {"text": "prompt", "type": 0},
                {"token": "[SEP]", "id": 1, "type": 0},
                {"text": "response", "type": 0},
            ],
        }
    )
    encoder = PairEncoder(tokenizer, template, 64)
    assert tokenizer.encode("a[SEP]b", add_special_tokens=False).tokens == ["a", "[SEP]", "b"]
    assert _tokens(encoder, "a[SEP]b") == ["a", "[", "S", "E", "P", "]", "b"]


def test_a_word_without_spaces_is_not_lost(encoder: PairEncoder) -> None:
    word = "howtomakebread" * 1000
    assert encoder._tokenizer.encode(word, add_special_tokens=False).tokens == ["[UNK]"]
    found = _tokens(encoder, word)
    assert "[UNK]" not in found
    assert "".join(str(t).removeprefix("##") for t in found) == word


def test_an_unknown_character_does_not_hide_its_word(encoder: PairEncoder) -> None:
    assert _tokens(encoder, "how\u2603\u2603to bread\u2603") == [
        "how",
        "[UNK]",
        "to",
        "bread",
        "[UNK]",
    ]
    assert _tokens(encoder, "\u2603") == ["[UNK]"]
    assert _tokens(encoder, "\u2603" * 5000) == ["[UNK]"]


def test_a_character_known_only_at_the_start_of_words_is_kept(encoder: PairEncoder) -> None:
    assert _tokens(encoder, "a\u03b1b\u0301c") == ["a", "[UNK]", "b", "##c"]


def _sides(encoded: Encoded) -> tuple[list[list[int]], list[list[int]]]:
    """Ids of the prompt and of the response in each window."""
    prompts, responses = [], []
    for window in encoded.windows:
        ids, types = window.ids.tolist(), window.types.tolist()
        first = types.count(0)
        prompts.append(ids[1 : first - 1])
        responses.append(ids[first:-1])
    return prompts, responses


def _covers(parts: Sequence[Sequence[int]], whole: Sequence[int]) -> bool:
    """Whether the parts, each starting inside what is covered so far, make up the whole."""
    position = 0
    for part in sorted((list(p) for p in parts), key=lambda p: p[0] if p else -1):
        if part and part[0] > position:
            return False
        position = max(position, part[-1] + 1 if part else 0)
    return position == len(whole)


@given(prompt=st.integers(1, 400), response=st.none() | st.integers(0, 400))
def test_windows_cover_every_token_and_are_linear_in_number(
    prompt: int, response: int | None
) -> None:
    from harmguard.core.encode import _pair_parts, _slide

    room = 61
    p = list(range(prompt))
    if response is None:
        parts = _slide(p, room)
        assert _covers(parts, p)
        assert all(len(part) <= room for part in parts)
        assert len(parts) <= 1 + len(p) / (room / 2)
        return
    r = list(range(response))
    pairs = _pair_parts(p, r, room)
    assert _covers([a for a, _ in pairs], p)
    assert _covers([b for _, b in pairs], r)
    assert all(len(a) + len(b) <= room for a, b in pairs)
    half = room // 2
    for a, b in pairs:
        assert len(a) >= min(half, prompt)
        assert len(b) >= min(half, response)
    assert len(pairs) <= 2 + (prompt + response) / (half / 2)


def test_a_short_side_is_whole_in_every_window(encoder: PairEncoder) -> None:
    prompts, responses = _sides(encoder.encode("how to make", WORD * 200))
    assert len(prompts) > 1
    assert {len(p) for p in prompts} == {3}
    assert {len(r) for r in responses} == {64 - 3 - 3}


def test_two_long_sides_keep_half_each(encoder: PairEncoder) -> None:
    encoded = encoder.encode(WORD * 100, "help " * 100)
    prompts, responses = _sides(encoded)
    assert {len(p) for p in prompts} == {len(r) for r in responses} == {30}
    assert encoded.tokens == 200
    assert all(len(window.ids) <= 64 for window in encoded.windows)


def test_an_unknown_character_is_the_unknown_token_in_every_kind_of_model() -> None:
    """A Unigram lists its unknown token as a special one: it is not spelt, as others are."""
    made = unigram_tokenizer(400)
    encoder = PairEncoder(made, Template.from_tokenizer(made), 64)
    unknown = SPECIALS.index("[UNK]")
    for text in ("\U000131a5", "\u2603", "bread \U0001f35e\U0001f35e please"):
        expected = made.encode(text, add_special_tokens=False).ids
        assert unknown in expected
        assert encoder.ids(text) == expected
    assert unknown + 1 == SPECIALS.index("[MASK]") not in encoder.ids("[MASK] bread [CLS]")
