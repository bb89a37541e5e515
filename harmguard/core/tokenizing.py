"""What a tokenizer is asked: with other threads running meanwhile, and no failure without a name.

The tokenizers library holds Python's lock while it encodes one text, seconds for a long one, and
lets it go while it encodes a batch. What it throws has no common base: bare Exception, and for a
Rust panic an exception that is no Exception.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

from harmguard.errors import HarmGuardError, TokenizerError

LONG_CHARS = 4096
"""A text of so many characters holds up other threads for about 10 ms."""

_Answer = TypeVar("_Answer")
_PARALLEL = "TOKENIZERS_PARALLELISM"
_batched = False
_set_for_fork = False


def encode_text(tokenizer: Any, text: str) -> Any:
    """The encoding of `text` without special tokens, as `tokenizer.encode` gives it."""
    global _batched
    if len(text) < LONG_CHARS or not hasattr(tokenizer, "encode_batch"):
        return tokenizer.encode(text, add_special_tokens=False)
    _batched = True
    try:
        return tokenizer.encode_batch([text], add_special_tokens=False)[0]
    except BaseException as error:
        # Where no more threads may be made the library cannot make its own for batches.
        if not is_panic(error):
            raise
    return tokenizer.encode(text, add_special_tokens=False)


def is_panic(error: BaseException) -> bool:
    """Whether `error` is a panic of Rust code, whose class each extension module has for itself."""
    return type(error).__module__ == "pyo3_runtime" and type(error).__name__ == "PanicException"


def named_errors(what: str, ask: Callable[..., _Answer], *arguments: Any) -> _Answer:
    """What `ask` answers; TokenizerError for whatever the tokenizer throws at the text `what`."""
    try:
        return ask(*arguments)
    except (HarmGuardError, MemoryError):
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and not is_panic(error):
            raise
        kind = type(error).__name__
    # Outside of the handler, and by its class alone: what was thrown may quote the text.
    raise TokenizerError(
        f"{what}: the tokenizer failed ({kind}); expected token ids; likely a tokenizer.json that "
        "is damaged or lacks its unknown token, or a fault of the installed tokenizers package"
    )


def _before_fork() -> None:
    # After batches the library warns in each forked child, on standard error, unless this is set.
    global _set_for_fork
    if _batched and _PARALLEL not in os.environ:
        os.environ[_PARALLEL] = "false"
        _set_for_fork = True


def _after_fork_in_parent() -> None:
    global _set_for_fork
    if _set_for_fork:
        os.environ.pop(_PARALLEL, None)
        _set_for_fork = False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent)
