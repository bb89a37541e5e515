"""How much of a text a guard cannot read: characters without a token, letters never trained on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from tokenizers import Tokenizer

from harmguard.core.views import in_place
from harmguard.core.views.tables import class_string, code_points, script_names, script_numbers

# A hieroglyph: what a model makes of it is its unknown token.
_NOWHERE = "\U000131a5"
_SPACE_PIECE = "\u2581"
_CACHED = 4096


def scripts_of(texts: Iterable[str]) -> list[str]:
    """The scripts (ISO 15924) that at least a hundredth of the letters of some texts are in."""
    counts = np.zeros(len(script_names()), np.int64)
    for text in texts:
        counts += np.bincount(script_numbers()[code_points(text)], minlength=len(counts))
    counts[0] = 0  # no letters
    least = max(1, int(counts.sum()) // 100)
    return [name for name, count in zip(script_names(), counts, strict=True) if count >= least]


class Reader:
    """Knows which characters a guard can read.

    `scripts`: the scripts (ISO 15924) of the letters that the guard was trained on; None if
    nobody said, and then only the tokenizer decides. `has_views`: whether the guard scores the
    other views of a text too.
    """

    def __init__(
        self, tokenizer: Tokenizer, scripts: Sequence[str] | None, *, has_views: bool
    ) -> None:
        self._tokenizer = tokenizer
        self._scripts = None if scripts is None else frozenset(scripts)
        self._has_views = has_views
        unknown = set(self._ids(_NOWHERE)) - {tokenizer.token_to_id(_SPACE_PIECE)}
        # Several ids are its bytes: such a tokenizer has tokens for everything.
        self._unknown = unknown if len(unknown) == 1 else set()
        self._counted: dict[str, int | None] = {}
        self._fine: set[str] = set()

    def unreadable(self, prompt: str, response: str | None) -> float:
        """The share of characters, in [0, 1], that the guard cannot read; the higher of both texts.

        Spaces, marks and characters of no width do not count. Of a text that is readable in
        another view, that view counts.
        """
        return max(self._share(text) for text in (prompt, response) if text is not None)

    def _share(self, text: str) -> float:
        share = self._share_of(text)
        if share and self._has_views:
            share = min(share, self._share_of(in_place(text)))
        return share

    def _share_of(self, text: str) -> float:
        if self._fine.issuperset(text):
            return 0.0
        kinds = {c: self._of(c) for c in set(text)}
        if len(self._fine) < _CACHED:
            self._fine.update(c for c, kind in kinds.items() if not kind)
        if not any(kinds.values()):
            return 0.0
        found = [kind for c in text if (kind := kinds[c]) is not None]
        return sum(found) / len(found)

    def _of(self, c: str) -> int | None:
        """1 for a character that cannot be read, 0 for one that can, None for one of no account."""
        try:
            return self._counted[c]
        except KeyError:
            found: int | None = None
            if class_string(c) not in "zim":
                found = int(not self._unknown.isdisjoint(self._ids(c)) or self._foreign(c))
            if len(self._counted) >= _CACHED:
                self._counted.clear()
            self._counted[c] = found
            return found

    def _foreign(self, c: str) -> bool:
        if self._scripts is None:
            return False
        script = script_names()[script_numbers()[ord(c)]]
        return script != "-" and script not in self._scripts

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids
