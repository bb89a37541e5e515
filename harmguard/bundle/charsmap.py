"""The "precompiled charsmap" of sentencepiece's normalisation, checked before a library parses it.

It is a size in bytes, a double-array trie (darts-clone) of that size, and the replacements, each
ended by a zero. Libraries allocate by the size and index by the trie: a wrong one ends the process.
"""

from __future__ import annotations

import binascii
from typing import Any, NoReturn

import numpy as np

from harmguard.errors import TokenizerError

MAX_REPLACEMENT_BYTES = 64
"""NFKC's longest replacement has 33."""
_LEAF = 1 << 31


def check_charsmap(value: Any) -> None:
    """Check a charsmap in base64. Raises TokenizerError."""
    if not isinstance(value, str):
        _refuse("is no text")
    try:
        data = binascii.a2b_base64(value, strict_mode=True)
    except (binascii.Error, ValueError):
        _refuse("is not base64")
    size = int.from_bytes(data[:4], "little")
    if len(data) < 8 or size == 0 or size % 4 or size > len(data) - 4:
        _refuse(f"says that its trie has {size:,} bytes, of {max(0, len(data) - 4):,}")
    units = np.frombuffer(data, "<u4", size // 4, 4).astype(np.int64)
    replacements = data[4 + size :]
    leaf = (units & _LEAF) != 0
    # Every node that a text can lead to has all 256 of its places within the trie.
    offsets = (units >> 10) << ((units & 0x200) >> 6)
    places = (np.arange(len(units)) ^ offsets) | 0xFF
    if (places[~leaf] >= len(units)).any():
        _refuse("has a trie that leads out of itself")
    _check_replacements(replacements, np.unique(units[leaf] & (_LEAF - 1)))


def _check_replacements(data: bytes, starts: np.ndarray[Any, Any]) -> None:
    try:
        data.decode()
    except UnicodeDecodeError:
        _refuse("has replacements that are not UTF-8")
    if max(map(len, data.split(b"\0"))) > MAX_REPLACEMENT_BYTES:
        _refuse(f"has a replacement of more than {MAX_REPLACEMENT_BYTES} bytes")
    found = np.frombuffer(data, np.uint8)
    if len(starts) and (starts[-1] >= len(found) or ((found[starts] & 0xC0) == 0x80).any()):
        _refuse("leads to replacements that are not there")


def _refuse(found: str) -> NoReturn:
    raise TokenizerError(
        f"tokenizer.json has a precompiled charsmap that {found}; expected what sentencepiece "
        "writes: a size, a trie of that size, replacements; likely damaged, or made to end the "
        "process"
    )
