"""Tokenizers that end the process, hang, fill memory, or give other ids at every call."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harmguard.errors import TokenizerError
from tests.attacks.base import Attack, put

Change = Callable[[Path], object]


def tokenizer(change: Callable[[Any], object]) -> Change:
    """Change the parsed tokenizer.json."""

    def apply(folder: Path) -> None:
        path = folder / "tokenizer.json"
        value = json.loads(path.read_text(encoding="utf-8"))
        change(value)
        put(folder, "tokenizer.json", json.dumps(value).encode())

    return apply


def part(name: str, step: Any) -> Change:
    return tokenizer(lambda value: value.update({name: step}))


def model(**changes: Any) -> Change:
    return tokenizer(lambda value: value["model"].update(changes))


def charsmap(data: bytes) -> Change:
    text = base64.b64encode(data).decode()
    return part("normalizer", {"type": "Precompiled", "precompiled_charsmap": text})


def trie(units: list[int], replacements: bytes = b"\0") -> Change:
    return charsmap(struct.pack(f"<I{len(units)}I", 4 * len(units), *units) + replacements)


def replace(pattern: Any, content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": pattern, "content": content}


def steps(name: str, key: str, inner: list[Any]) -> Change:
    return part(name, {"type": "Sequence", key: inner})


def nested(depth: int) -> dict[str, Any]:
    step: dict[str, Any] = {"type": "NFC"}
    for _ in range(depth):
        step = {"type": "Sequence", "normalizers": [step]}
    return step


def template(single: list[str], pair: list[str]) -> Change:
    def pieces(texts: list[str]) -> list[Any]:
        return [{"Sequence": {"id": text, "type_id": 0}} for text in texts]

    value = {"type": "TemplateProcessing", "special_tokens": {}}
    return part("post_processor", {**value, "single": pieces(single), "pair": pieces(pair)})


def added(content: str, count: int = 1) -> Change:
    def change(value: Any) -> None:
        flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        value["added_tokens"] += [
            {"id": 1000 + i, "content": content + str(i), **flags, "special": True}
            for i in range(count)
        ]

    return tokenizer(change)


def text(change: Callable[[str], str]) -> Change:
    def apply(folder: Path) -> None:
        data = (folder / "tokenizer.json").read_text(encoding="utf-8")
        put(folder, "tokenizer.json", change(data).encode())

    return apply


UNIGRAM = {"type": "Unigram", "unk_id": 0, "byte_fallback": False}
BPE: dict[str, Any] = {
    "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
    "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "vocab": {"a": 0},
    "merges": [],
}  # fmt: skip
LEAF = 1 << 31
KINDS: dict[str, tuple[str, Change]] = {
    # Sizes that a library believes
    "charsmap-trie-of-4-gigabytes": (
        "its trie has 4,294,967,292 bytes", charsmap(struct.pack("<I", (1 << 32) - 4) + bytes(64))
    ),
    "charsmap-trie-longer-by-one-unit": (
        "its trie has 68 bytes, of 64", charsmap(struct.pack("<I", 68) + bytes(64))
    ),
    "charsmap-without-a-trie": ("its trie has 0 bytes", charsmap(bytes(64))),
    "charsmap-trie-of-odd-size": (
        "its trie has 7 bytes", charsmap(struct.pack("<I", 7) + bytes(9))
    ),
    "charsmap-of-three-bytes": ("its trie has 7,829,367 bytes", charsmap(b"www")),
    "charsmap-empty": ("its trie has 0 bytes", charsmap(b"")),
    "charsmap-not-base64": (
        "is not base64", part("normalizer", {"type": "Precompiled", "precompiled_charsmap": "%%"})
    ),
    "charsmap-a-number": (
        "is no text", part("normalizer", {"type": "Precompiled", "precompiled_charsmap": 7})
    ),
    "charsmap-trie-too-small": ("leads out of itself", trie([0] * 8)),
    "charsmap-trie-leads-out": ("leads out of itself", trie([0xFFFF << 10] + [0] * 255)),
    "charsmap-replacement-beyond": ("that are not there", trie([0] + [LEAF | 999] + [0] * 254)),
    "charsmap-replacement-in-a-character": (
        "that are not there", trie([0] + [LEAF | 1] + [0] * 254, "\u00e9\0".encode())
    ),
    "charsmap-replacement-of-a-kilobyte": ("more than 64 bytes", trie([0] * 256, b"x" * 1024)),
    "charsmap-replacement-not-text": ("not UTF-8", trie([0] * 256, b"\xff\0")),
    # Patterns
    **{
        f"pattern-{name}-{number}": (r"set as it is", part(name, step))
        for number, pattern in enumerate(("(a|a)*$", "^(\\w+\\s?)*$", "(x+x+)+y", " {2,}+x"))
        for name, step in (
            ("normalizer", replace({"Regex": pattern}, "")),
            (
                "pre_tokenizer",
                {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated",
                 "invert": False},
            ),
            ("decoder", replace({"Regex": pattern}, "")),
        )
    },
    "pattern-empty": ("set as it is", part("normalizer", replace({"String": ""}, ""))),
    "pattern-within-a-sequence": (
        "set as it is",
        steps("pre_tokenizer", "pretokenizers", [{"type": "Whitespace"}, {"type": "Split",
        "pattern": {"Regex": "(.*)*"}, "behavior": "Removed", "invert": False}]),
    ),
    # Text that grows
    "replacement-longer": ("lengthens text", part("normalizer", replace({"String": "e"}, "ee"))),
    "replacement-much-longer": (
        "lengthens text", part("normalizer", replace({"String": "the"}, "x" * 10_000))
    ),
    "replacement-of-spaces-longer": (
        "lengthens text", part("normalizer", replace({"Regex": " {2,}"}, "   "))
    ),
    "replacement-in-a-sequence-longer": (
        "lengthens text",
        steps("normalizer", "normalizers", [replace({"String": "a"}, "bb")] * 20),
    ),
    "prefix-long": ("set as it is", part("normalizer", {"type": "Prepend", "prepend": "x" * 17})),
    "steps-33": ("more than 32 steps", steps("normalizer", "normalizers", [{"type": "NFC"}] * 33)),
    "steps-in-all-parts": (
        "more than 32 steps",
        lambda folder: [
            steps("normalizer", "normalizers", [{"type": "NFC"}] * 16)(folder),
            steps("pre_tokenizer", "pretokenizers", [{"type": "WhitespaceSplit"}] * 16)(folder),
        ],
    ),
    "steps-nested": ("more than 32 steps", part("normalizer", nested(9))),
    "steps-nested-300-times": ("cannot be read|more than 32", part("normalizer", nested(300))),
    # Other ids at every call
    "dropout": ("a BPE whose dropout", part("model", {**BPE,
        "dropout": 0.1})),
    "dropout-small": ("a BPE whose dropout", part("model", {**BPE, "dropout": 1e-9})),
    "dropout-whole": ("a BPE whose dropout", part("model", {**BPE, "dropout": 1})),
    # Text that is left out
    "template-without-the-prompt": ("'single' set as it is", template([], ["A", "B"])),
    "template-without-the-response": ("'pair' set as it is", template(["A"], ["A"])),
    "template-with-the-prompt-twice": ("'single' set as it is", template(["A", "A"], ["A", "B"])),
    "template-in-another-order": ("'pair' set as it is", template(["A"], ["B", "A"])),
    # Long tokens
    "special-token-long": ("whose content is not valid", added("[" + "x" * 1000)),
    "special-token-of-a-megabyte": ("whose content is not valid", added("y" * 1_000_000)),
    "special-tokens-many": ("added tokens of", added("z" * 990, 110)),
    "piece-long": ("a vocabulary that no guard", model(vocab={"[UNK]": 0, "x" * 1001: 1})),
    "piece-long-by-escapes": (
        "a vocabulary that no guard", model(vocab={"[UNK]": 0, '"' * 1001: 1})
    ),
    "word-limit-large": ("max_input_chars_per_word", model(max_input_chars_per_word=1_000_000)),
    "word-limit-zero": ("max_input_chars_per_word", model(max_input_chars_per_word=0)),
    # Models that stop at unknown text
    "unknown-token-missing": (
        "its unknown token, in the vocabulary", model(unk_token="[NOWHERE]")
    ),
    "unigram-without-unknown": (
        "a Unigram", part("model", {**UNIGRAM, "unk_id": None, "vocab": [["a", 0.0]]})
    ),
    "unigram-unknown-beyond": ("cannot be read", part("model", {**UNIGRAM, "unk_id": 9,
        "vocab": [["a", 0.0]]})),
    "unigram-empty-piece": (
        "a vocabulary that no guard", part("model", {**UNIGRAM, "vocab": [["a", 0.0], ["", -1.0]]})
    ),
    "unigram-huge-score": (
        "a vocabulary that no guard", part("model", {**UNIGRAM, "vocab": [["a", 1e300]]})
    ),
    "unigram-piece-of-three": (
        "a vocabulary that no guard", part("model", {**UNIGRAM, "vocab": [["a", 0.0, 1]]})
    ),
    # What is not on the list
    **{
        f"step-{kind}": (f"has '{kind}' in {name}", part(name, {"type": kind}))
        for name, kind in (
            ("normalizer", "Custom"), ("normalizer", "ByteLevel"), ("pre_tokenizer", "Python"),
            ("post_processor", "Own"), ("decoder", "CTC"),
        )
    },
    "step-without-a-type": ("has 'None' in normalizer", part("normalizer", {"lowercase": True})),
    "step-a-list": ("has 'None' in pre_tokenizer", part("pre_tokenizer", [])),
    "field-unknown": ("'more' set as it is", part("normalizer", {"type": "NFC", "more": 1})),
    "flag-a-number": ("'lowercase' set as it is", tokenizer(
        lambda value: value["normalizer"].update(lowercase=1))),
    "model-unknown": ("a model 'Own'", model(type="Own")),
    "model-field-unknown": ("a WordPiece whose more", model(more=1)),
    "part-unknown": ("other parts", part("scripts", ["x"])),
    # JSON that readers understand differently
    "key-twice": ("cannot be read", text(lambda s: s.replace('"normalizer"',
        '"normalizer": null, "normalizer"', 1))),
    "model-twice": ("cannot be read", text(lambda s: s.rstrip()[:-1] + ', "model": {}}')),
    "vocabulary-elsewhere": ("cannot be read", text(lambda s: s.replace('{', '{"vocab": {}, ', 1))),
    "not-a-number": (
        "cannot be read", text(lambda s: s.replace('"version"', '"x": NaN, "version"', 1))
    ),
    "cut-in-the-middle": ("no guard may have|cannot be read", text(lambda s: s[: len(s) // 2])),
    "not-utf-8": ("cannot be read", lambda folder: put(folder, "tokenizer.json", b'{"\xff": 1}')),
}  # fmt: skip
ATTACKS = {name: Attack(TokenizerError, match, change) for name, (match, change) in KINDS.items()}
