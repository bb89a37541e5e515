"""Chat templates: an assistant's turn that a model continues, and the place of a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jinja2.exceptions import TemplateError
from transformers import AutoTokenizer

from harmguard.checkpoint import located
from harmguard.errors import ChatTemplateError, TeacherError

_MARK = "harmguardmark"  # stands for what the model will say, to find where it begins
Message = dict[str, str]


def load_tokenizer(path: str, revision: str) -> Any:
    """The tokenizer of a folder or of `hub:owner/name`.

    Raises ChatTemplateError when it has no chat template, CheckpointError for another path.
    """
    tokenizer = AutoTokenizer.from_pretrained(**located(path, revision))
    if not tokenizer.chat_template:
        raise ChatTemplateError(
            "the tokenizer has no chat template; expected one of a chat model; likely a base "
            "model, or a folder without chat_template.jinja"
        )
    return tokenizer


def opened_turn(tokenizer: Any, request: str, prefix: str) -> list[int]:
    """Token ids of a user's `request` and of an assistant's turn that begins with `prefix`.

    The turn is left open right after the prefix, so that a model goes on with it; what the
    template puts into the ids (such as BOS) is there once. Raises ChatTemplateError when the
    template fails, or does not show the assistant's words as they are.
    """
    messages = [{"role": "user", "content": request}]
    if not prefix:
        return ids_of(tokenizer, _render(tokenizer, messages, opened=True))
    messages.append({"role": "assistant", "content": prefix + _MARK})
    rendered = _render(tokenizer, messages, opened=False)
    cut = rendered.rfind(prefix + _MARK)
    if cut < 0:
        raise ChatTemplateError(
            "the template does not show an assistant's turn as it was given; expected one that "
            "can be continued after a prefix; likely it strips or rewrites answers"
        )
    return ids_of(tokenizer, rendered[: cut + len(prefix)])


def verdict_place(tokenizer: Any, prompt: str, response: str | None, append: str) -> str:
    """The text up to the place where a teacher says safe or unsafe.

    Guards such as Llama Guard render the conversation as a task with an opened answer.
    Where a template leaves the answer closed, its generation prompt is added.
    """
    messages = [{"role": "user", "content": prompt}]
    if response is not None:
        messages.append({"role": "assistant", "content": response})
    return _render(tokenizer, messages, opened=True) + append


def verdict_words(tokenizer: Any, append: str) -> tuple[int, int]:
    """Ids of the first tokens of "safe" and "unsafe" at the place of the verdict.

    Found in place, since a word has other tokens after a space than after a line end. Raises
    TeacherError when they are unknown, the same, or merge with what stands before them.
    """
    place = verdict_place(tokenizer, "Hello.", "Hello.", append)
    before = ids_of(tokenizer, place)
    found = []
    for word in ("safe", "unsafe"):
        ids = ids_of(tokenizer, place + word)
        if ids[: len(before)] != before or len(ids) == len(before):
            raise TeacherError(
                f"{word!r} merges with the text before it; expected a token of its own at the "
                "place of the verdict; likely label.append does not fit this teacher"
            )
        found.append(ids[len(before)])
    safe, unsafe = found
    if safe == unsafe or tokenizer.unk_token_id in found:
        raise TeacherError(
            f'the tokenizer gives "safe" and "unsafe" the first tokens {safe} and {unsafe}; '
            "expected two different known ones; likely not a guard of this kind"
        )
    return safe, unsafe


def ids_of(tokenizer: Any, rendered: str) -> list[int]:
    """Token ids of a rendered template, which holds its special tokens already."""
    return list(tokenizer(rendered, add_special_tokens=False)["input_ids"])


def _render(tokenizer: Any, messages: Sequence[Message], *, opened: bool) -> str:
    try:
        return str(
            tokenizer.apply_chat_template(
                list(messages), tokenize=False, add_generation_prompt=opened
            )
        )
    except (TemplateError, TypeError) as error:
        raise ChatTemplateError(
            f"the chat template fails on {len(messages)} plain messages "
            f"({type(error).__name__}); expected a user's turn and an assistant's; likely made "
            "for another kind of conversation"
        ) from None
