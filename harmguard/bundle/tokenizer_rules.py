"""What a tokenizer.json may hold, checked before the library that obeys it sees it.

A tokenizer is a program of a kind: patterns that never end, replacements that double a text forty
times, sizes that a library allocates before it looks at the bytes. What guards need is a short
list of steps, each of which takes time and memory in proportion to the text.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from harmguard.bundle.charsmap import check_charsmap
from harmguard.errors import TokenizerError

MAX_STEPS = 32
"""Normalizers, pre-tokenizers, post-processors and decoders of one tokenizer, together."""
MAX_TOKEN_CHARS = 1000
MAX_TOKENS = 1_000_000
MAX_ADDED_CHARS = 100_000
"""All added tokens together: each of their characters is encoded once at every load."""
_MAX_DEPTH = 8
_SPACES = {"Regex": " {2,}"}
"""The one pattern that is allowed: what converters of sentencepiece models write."""

_TOKEN = r'"(?:[^"\\]{0,1000}+"|(?:[^"\\]|\\u[0-9a-fA-F]{4}|\\[^u]){0,1000}+")'
_NUMBER = r"-?\d{1,9}+(?:\.\d{1,40}+)?+(?:[eE]-?\d{1,2}+)?+"
# Possessive, so that no text makes them go back; commas are left to the library.
_VOCABULARY = re.compile(r'"vocab"\s*:\s*(?=[\[{])')
_WORDS = re.compile(rf"\{{\s*+(?:{_TOKEN}\s*+:\s*+\d{{1,10}}+\s*+,?+\s*+)*+\}}")
_PIECES = re.compile(rf'\[\s*+(?:\[\s*+(?!""){_TOKEN}\s*+,\s*+{_NUMBER}\s*+\]\s*+,?+\s*+)*+\]')

Check = Callable[[Any], bool]


def check_tokenizer(data: bytes) -> None:
    """Check the bytes of a tokenizer.json. Raises TokenizerError that names what is refused."""
    try:
        value = _parse(data.decode())
    except (ValueError, RecursionError) as error:
        kind = type(error).__name__
        refuse(f"cannot be read ({kind})", "the JSON file of a fast tokenizer", "damaged")
    if not isinstance(value, dict) or not value.keys() <= _PARTS or "model" not in value:
        refuse("cannot be read (other parts)", "the file of a fast tokenizer", "another format")
    for name in ("truncation", "padding"):
        if value.get(name) is not None:
            refuse(
                f"has {name} set",
                "null, or text would be cut or padded silently",
                "copied from a checkpoint as it stands",
            )
    steps = _Steps()
    for part in _STEPS:
        if value.get(part) is not None:
            steps.check(value[part], part)
    _check_added(value.get("added_tokens"))
    _check_model(value["model"])


def _parse(text: str) -> Any:
    """The JSON value, in which no object has a key twice, and "" in place of the vocabulary.

    The vocabulary is most of a file, and as objects takes memory for good. Its form is checked
    where it stands, and the rest is read with a word nobody could know in its place.
    """
    found = _VOCABULARY.search(text)
    if found is None:
        raise ValueError("no vocabulary")
    form = _WORDS if text[found.end()] == "{" else _PIECES
    whole = form.match(text, found.end())
    if whole is None or text.count('"', *whole.span()) > 2 * MAX_TOKENS:
        refuse(
            "has a vocabulary that no guard may have",
            f"at most {MAX_TOKENS:,} pieces of at most {MAX_TOKEN_CHARS:,} characters, with ids or "
            "scores",
            "damaged, or made to fill memory",
        )
    aside = os.urandom(16).hex()
    value = _strict(f'{text[: whole.start()]}"{aside}"{text[whole.end() :]}')
    model = value.get("model") if isinstance(value, dict) else None
    if not isinstance(model, dict) or model.get("vocab") != aside:
        raise ValueError("no vocabulary in the model")
    model["vocab"] = ""
    return value


def _strict(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_object, parse_constant=_no_constant)


class _Steps:
    """Counts the steps of a tokenizer while it checks them."""

    def __init__(self) -> None:
        self._left = MAX_STEPS

    def check(self, value: Any, part: str, depth: int = 0) -> None:
        """Check one step, or a Sequence of them."""
        self._left -= 1
        if self._left < 0 or depth > _MAX_DEPTH:
            refuse(f"has more than {MAX_STEPS} steps", "a few", "made to take for ever")
        inner = _SEQUENCES[part]
        kind = value.get("type") if isinstance(value, dict) else None
        if kind == "Sequence" and value.keys() == {"type", inner}:
            steps = value[inner]
            for step in steps if isinstance(steps, list) else [None]:
                self.check(step, part, depth + 1)
        elif not isinstance(kind, str) or kind not in _STEPS[part]:
            refuse(
                f"has {str(kind)[:40]!a} in {part}",
                f"one of {', '.join(sorted(_STEPS[part]))}, or a Sequence",
                "a step that may take for ever, or one that is newer than this release",
            )
        else:
            _check_step(value, kind, part)


def _check_step(step: Mapping[str, Any], kind: str, part: str) -> None:
    """Check the fields of one step."""
    checks = {"type": _text, **_STEPS[part][kind]}
    for name, value in step.items():
        check = checks.get(name)
        if check is None or not check(value):
            refuse(
                f"has {kind} in {part} with {name[:40]!a} set as it is",
                "what takes time and memory in proportion to the text",
                "a pattern, or a text that is left out",
            )
    if kind == "Replace" and not _replaces(step):
        refuse(
            f"has a Replace in {part} that lengthens text",
            "a replacement of no more characters than what it replaces",
            "made to fill memory",
        )


def _check_added(tokens: Any) -> None:
    checks: dict[str, Check] = {"id": _id, "content": _token}
    checks |= dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), _flag)
    for token in tokens if isinstance(tokens, list) else [None] if tokens is not None else []:
        if not isinstance(token, dict) or token.keys() != checks.keys():
            refuse("has an added token without its fields", "seven of them", "made by hand")
        for name, check in checks.items():
            if not check(token[name]):
                refuse(
                    f"has an added token whose {name} is not valid",
                    f"a text of 1 to {MAX_TOKEN_CHARS:,} characters, an id, and flags",
                    "made to take long",
                )
    total = sum(len(token["content"]) for token in tokens or ())
    if total > MAX_ADDED_CHARS:
        refuse(
            f"has added tokens of {total:,} characters",
            f"at most {MAX_ADDED_CHARS:,} together",
            "made to take long",
        )


def _check_model(model: Any) -> None:
    kind = model.get("type") if isinstance(model, dict) else None
    if not isinstance(kind, str) or kind not in _MODELS:
        refuse(f"cannot be read (a model {str(kind)[:40]!a})", ", ".join(_MODELS), "damaged")
    checks = _MODELS[kind]
    for name, value in model.items():
        check = checks.get(name)
        if check is None or not check(value):
            refuse(
                f"has a {kind} whose {name[:40]} is not what a guard may have",
                f"no dropout, pieces of at most {MAX_TOKEN_CHARS:,} characters, at most "
                f"{MAX_TOKENS:,} of them",
                "another field of a newer release, or made to take for ever",
            )
    if kind == "Unigram" and model.get("unk_id") is None:
        refuse(
            "has a Unigram without an unknown token",
            "one: the library stops at unknown text otherwise",
            "made by hand",
        )


# Checks of single values


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object holds the same key twice")
    return found


def _no_constant(name: str) -> float:
    raise ValueError(f"holds {name}")


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _maybe_flag(value: Any) -> bool:
    return value is None or isinstance(value, bool)


def _id(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 31


def _token(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_TOKEN_CHARS


def _short(value: Any) -> bool:
    return value is None or (isinstance(value, str) and len(value) <= 16)


def _letter(value: Any) -> bool:
    return isinstance(value, str) and len(value) == 1


def _no_dropout(value: Any) -> bool:
    return value is None or (type(value) in (int, float) and value == 0)


def _pattern(value: Any) -> bool:
    if value == _SPACES:
        return True
    return isinstance(value, dict) and value.keys() == {"String"} and _token(value["String"])


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _replaces(step: Mapping[str, Any]) -> bool:
    """Whether a replacement has no more characters than what it replaces."""
    pattern, text = step.get("pattern"), step.get("content")
    if not isinstance(pattern, dict) or not isinstance(text, str):
        return False
    if pattern == _SPACES:
        return len(text) <= 2
    return len(text) <= len(pattern["String"])


def _merges(value: Any) -> bool:
    """Pairs of pieces, as "a b" or as ["a", "b"]."""
    if not isinstance(value, list) or len(value) > 2 * MAX_TOKENS:
        return False
    return all(
        (type(pair) is str and len(pair) <= 2 * MAX_TOKEN_CHARS)
        or (type(pair) is list and len(pair) == 2 and all(map(_token, pair)))
        for pair in value
    )


def _charsmap(value: Any) -> bool:
    check_charsmap(value)
    return True


def _template(texts: tuple[str, ...]) -> Check:
    """A check that a template has these texts, in this order, each once."""

    def check(pieces: Any) -> bool:
        if not isinstance(pieces, list) or len(pieces) > 16:
            return False
        found = []
        for piece in pieces:
            if not isinstance(piece, dict) or len(piece) != 1:
                return False
            ((kind, inner),) = piece.items()
            if kind not in ("Sequence", "SpecialToken") or not isinstance(inner, dict):
                return False
            if inner.keys() != {"id", "type_id"} or not _id(inner["type_id"]):
                return False
            if kind == "Sequence":
                found.append(inner["id"])
        return found == list(texts)

    return check


def _specials(value: Any) -> bool:
    """The special tokens of a template, each a few ids."""
    if not isinstance(value, dict) or len(value) > 16:
        return False
    return all(
        isinstance(token, dict)
        and token.keys() == {"id", "ids", "tokens"}
        and isinstance(token["ids"], list)
        and isinstance(token["tokens"], list)
        and len(token["ids"]) == len(token["tokens"]) <= 16
        and all(map(_id, token["ids"]))
        and all(map(_token, token["tokens"]))
        for token in value.values()
    )


def _special(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and _token(value[0]) and _id(value[1])


def refuse(found: str, expected: str, cause: str) -> NoReturn:
    """Raise the error for a tokenizer that a guard may not have."""
    raise TokenizerError(f"tokenizer.json {found}; expected {expected}; likely {cause}")


def _bare(*kinds: str) -> dict[str, dict[str, Check]]:
    """Steps that have no fields."""
    return {kind: {} for kind in kinds}


_BYTE_LEVEL = dict.fromkeys(("add_prefix_space", "trim_offsets", "use_regex"), _flag)
_METASPACE = {"replacement": _letter, "str_rep": _letter, "add_prefix_space": _flag}
_METASPACE |= {"prepend_scheme": _text, "split": _flag}
_REPLACE = {"pattern": _pattern, "content": _text}
_SEQUENCES = {
    "normalizer": "normalizers",
    "pre_tokenizer": "pretokenizers",
    "post_processor": "processors",
    "decoder": "decoders",
}
_STEPS: Mapping[str, Mapping[str, Mapping[str, Check]]] = {
    "normalizer": {
        "BertNormalizer": {
            **dict.fromkeys(("clean_text", "handle_chinese_chars", "lowercase"), _flag),
            "strip_accents": _maybe_flag,
        },
        "Strip": dict.fromkeys(("strip_left", "strip_right"), _flag),
        **_bare("StripAccents", "NFC", "NFD", "NFKC", "NFKD", "Lowercase", "Nmt"),
        "Precompiled": {"precompiled_charsmap": _charsmap},
        "Replace": _REPLACE,
        "Prepend": {"prepend": _short},
    },
    "pre_tokenizer": {
        **_bare("BertPreTokenizer", "Whitespace", "WhitespaceSplit", "UnicodeScripts"),
        "Punctuation": {"behavior": _text},
        "Digits": {"individual_digits": _flag},
        "CharDelimiterSplit": {"delimiter": _letter},
        "Split": {
            "pattern": lambda value: value != _SPACES and _pattern(value),
            "behavior": _text,
            "invert": _flag,
        },
        "ByteLevel": _BYTE_LEVEL,
        "Metaspace": _METASPACE,
    },
    "post_processor": {
        "TemplateProcessing": {
            "single": _template(("A",)),
            "pair": _template(("A", "B")),
            "special_tokens": _specials,
        },
        "BertProcessing": {"sep": _special, "cls": _special},
        "RobertaProcessing": {
            "sep": _special,
            "cls": _special,
            "trim_offsets": _flag,
            "add_prefix_space": _flag,
        },
        "ByteLevel": _BYTE_LEVEL,
    },
    "decoder": {
        "WordPiece": {"prefix": _short, "cleanup": _flag},
        "ByteLevel": _BYTE_LEVEL,
        "Metaspace": _METASPACE,
        "BPEDecoder": {"suffix": _short},
        **_bare("Fuse", "ByteFallback"),
        "Strip": {"content": _letter, "start": _id, "stop": _id},
        "Replace": _REPLACE,
    },
}
_PARTS = {"version", "truncation", "padding", "added_tokens", "model", *_STEPS}
_MODELS: Mapping[str, Mapping[str, Check]] = {
    "WordPiece": {
        "type": _text,
        "unk_token": _token,
        "continuing_subword_prefix": _short,
        "max_input_chars_per_word": lambda n: type(n) is int and 0 < n <= MAX_TOKEN_CHARS,
        "vocab": _text,
    },
    "BPE": {
        "type": _text,
        "dropout": _no_dropout,
        "unk_token": lambda token: token is None or _token(token),
        "continuing_subword_prefix": _short,
        "end_of_word_suffix": _short,
        **dict.fromkeys(("fuse_unk", "byte_fallback", "ignore_merges"), _flag),
        "vocab": _text,
        "merges": _merges,
    },
    "WordLevel": {"type": _text, "unk_token": _token, "vocab": _text},
    "Unigram": {"type": _text, "unk_id": _id, "vocab": _text, "byte_fallback": _flag},
}
