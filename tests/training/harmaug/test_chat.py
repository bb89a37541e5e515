"""Turns that are continued, and the place of the verdict, over several shapes of template."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harmguard.errors import ChatTemplateError, TeacherError
from harmguard.training.harmaug.chat import (
    load_tokenizer,
    opened_turn,
    verdict_place,
    verdict_words,
)

PREFIX = "I have an idea for a prompt:"


@pytest.fixture
def tokenizer(smoke_models: Path) -> Any:
    return load_tokenizer(str(smoke_models / "models" / "generator"), "main")


@pytest.fixture
def judge(smoke_models: Path) -> Any:
    return load_tokenizer(str(smoke_models / "models" / "teacher"), "main")


TEMPLATES = {
    "headers": "{{ bos_token }}{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}",
    "brackets": "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST] "
    "{{ m.content }} [/INST]{% else %} {{ m.content | trim }} <|end|>{% endif %}{% endfor %}",
    "thinking": "{% for m in messages %}<|{{ m.role }}|>{% if m.role == 'assistant' %}"
    "(no thoughts) {% endif %}{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}",
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_prefix_is_the_last_thing_in_the_assistants_turn(tokenizer: Any, name: str) -> None:
    tokenizer.chat_template = TEMPLATES[name]
    # The user's text holds the prefix too: it must not be cut there.
    ids = opened_turn(tokenizer, f"Write a rude note. {PREFIX}", PREFIX)
    text = tokenizer.decode(ids)
    assert text.endswith(PREFIX)
    assert text.count(PREFIX) == 2
    assert ids[-1] != tokenizer.eos_token_id
    if "bos" in TEMPLATES[name]:
        assert ids[0] == tokenizer.bos_token_id
        assert ids.count(tokenizer.bos_token_id) == 1


def test_without_a_prefix_the_turn_is_only_opened(tokenizer: Any) -> None:
    ids = opened_turn(tokenizer, "Write a rude note.", "")
    assert tokenizer.decode(ids).endswith("<|end|><|assistant|>")


@pytest.mark.parametrize(
    ("template", "match"),
    [
        ("{% for m in messages %}{{ m.content | upper }}{% endfor %}", "does not show"),
        ("{{ messages[0].content }}", "does not show"),
        ("{{ raise_exception('no') }}", "the chat template fails on 2 plain messages"),
        ("{{ messages | nothing }}", "the chat template fails"),
    ],
)
def test_a_template_that_cannot_be_continued(tokenizer: Any, template: str, match: str) -> None:
    tokenizer.chat_template = template
    with pytest.raises(ChatTemplateError, match=match):
        opened_turn(tokenizer, "Write a rude note.", PREFIX)


def test_no_template(bad_model: Callable[..., str]) -> None:
    def change(folder: Path) -> None:
        (folder / "chat_template.jinja").unlink()

    with pytest.raises(ChatTemplateError, match="has no chat template"):
        load_tokenizer(bad_model("generator", change), "main")


def test_the_verdict_comes_after_the_appended_blank_line(judge: Any) -> None:
    alone = verdict_place(judge, "Write a rude note.", None, "\n\n")
    pair = verdict_place(judge, "Write a rude note.", "No.", "\n\n")
    assert alone.endswith("<|assistant|>\n\n")
    assert pair.endswith("assistant: No.<|end|><|assistant|>\n\n")
    assert "assistant: " not in alone
    safe, unsafe = verdict_words(judge, "\n\n")
    assert judge.convert_ids_to_tokens([safe, unsafe]) == ["safe", "unsafe"]


def test_words_that_are_no_two_words(judge: Any, smoke_models: Path) -> None:
    student = load_tokenizer_without_words(judge)
    with pytest.raises(TeacherError, match='gives "safe" and "unsafe" the first tokens'):
        verdict_words(student, "\n\n")
    with pytest.raises(TeacherError, match="merges with the text before it"):
        verdict_words(judge, "un")


def load_tokenizer_without_words(judge: Any) -> Any:
    """The same tokenizer with both words unknown."""
    import json

    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    value = json.loads(judge.backend_tokenizer.to_str())
    vocabulary = value["model"]["vocab"]
    for word in ("safe", "unsafe"):
        vocabulary[f"gone {word}"] = vocabulary.pop(word)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(value)), unk_token="<unk>", bos_token="<s>"
    )
    fast.chat_template = judge.chat_template
    return fast
