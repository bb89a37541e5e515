"""The tokenizer of a checkpoint's folder, as one that cuts and pads nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from transformers import AutoTokenizer
from transformers.models.auto.tokenization_auto import tokenizer_class_from_name

from harmguard.checkpoint.folder import read_object, refuse_pointer
from harmguard.checkpoint.quiet import quiet
from harmguard.errors import CheckpointError

FILE, SETTINGS = "tokenizer.json", "tokenizer_config.json"
_FILES = (
    SETTINGS, "special_tokens_map.json", "added_tokens.json", "vocab.txt", "vocab.json",
    "merges.txt", "spm.model", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model",
)  # fmt: skip
_NO_LIMIT = 1 << 20


def load_tokenizer(folder: Path) -> tuple[Tokenizer, int]:
    """The tokenizer with truncation and padding off, and the longest input that it names.

    It is what transformers makes of the folder, or tokenizer.json itself where the installed
    transformers does not know the class that the folder names. Raises CheckpointError.
    """
    settings = read_object(folder, SETTINGS) or {}
    file = folder / FILE
    if file.is_file():
        with file.open("rb") as opened:
            refuse_pointer(opened.read(64), FILE)
    if file.is_file() and _is_foreign(settings):
        tokenizer = _plain(file)
    else:
        tokenizer = _by_class(folder)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    limit = settings.get("model_max_length")
    named = isinstance(limit, int | float) and 1 <= limit < _NO_LIMIT
    return tokenizer, int(limit) if named and limit is not None else _NO_LIMIT


def write_tokenizer(tokenizer: Tokenizer, source: Path, target: Path, max_tokens: int) -> None:
    """Write the tokenizer into `target`, beside what else `source` says of it."""
    for name in _FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)
    settings = read_object(source, SETTINGS) or {}
    settings["model_max_length"] = max_tokens
    text = json.dumps(settings, indent=2, ensure_ascii=False) + "\n"
    (target / SETTINGS).write_text(text, encoding="utf-8")
    tokenizer.save(str(target / FILE))


def _is_foreign(settings: Mapping[str, Any]) -> bool:
    """Whether the installed transformers cannot read a folder with this tokenizer_config.json."""
    name = settings.get("tokenizer_class")
    if isinstance(settings.get("extra_special_tokens"), list):  # written so by transformers 5
        return True
    if not isinstance(name, str):
        return name is not None
    with quiet():
        found = [tokenizer_class_from_name(each) for each in (name, f"{name}Fast")]
    return found == [None, None]


def _plain(file: Path) -> Tokenizer:
    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises bare Exceptions
        raise CheckpointError(
            f"{FILE} cannot be read ({type(error).__name__}); expected a tokenizer of the "
            "tokenizers library; likely half-copied, or written by a newer release"
        ) from None


def _by_class(folder: Path) -> Tokenizer:
    try:
        with quiet():
            fast = AutoTokenizer.from_pretrained(
                str(folder), local_files_only=True, trust_remote_code=False
            )
            backend = getattr(fast, "backend_tokenizer", None)
            text = None if backend is None else backend.to_str()
    except Exception as error:  # of transformers, tokenizers, sentencepiece or tiktoken
        raise CheckpointError(
            f"the tokenizer of {folder.name} cannot be loaded ({type(error).__name__}); expected "
            f"{FILE}, or files that transformers makes one of; likely an unfinished copy"
        ) from None
    if text is None:
        raise CheckpointError(
            f"the tokenizer is a {type(fast).__name__}; expected a fast one, which {FILE} can "
            "describe; likely a model without a fast tokenizer"
        )
    return Tokenizer.from_str(text)
