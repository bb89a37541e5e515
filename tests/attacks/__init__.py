"""Bundles made to break a reader, each with the error that refuses it.

`python -m tests.attacks OUT` writes them as folders for readers in other languages.
"""

from __future__ import annotations

from tests.attacks import files, graphs, manifests, tokenizers
from tests.attacks.base import BASE, Attack, make

ATTACKS: dict[str, Attack] = {
    f"{kind}-{name}": attack
    for kind, attacks in (
        ("manifest", manifests.ATTACKS),
        ("file", files.ATTACKS),
        ("graph", graphs.ATTACKS),
        ("tokenizer", tokenizers.ATTACKS),
    )
    for name, attack in attacks.items()
}

__all__ = ["ATTACKS", "BASE", "Attack", "make"]
