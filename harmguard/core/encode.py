"""Text pair -> token ids -> windows.

One encoder for training, export and run time, so that a guard sees at run time
exactly what it was trained on. Imports numpy and tokenizers only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer
from tokenizers.models import WordPiece

from harmguard.core.tokenizing import encode_text
from harmguard.core.views import ViewName, views_of_pair
from harmguard.errors import ManifestError, TokenizerError

IntArray = npt.NDArray[np.int64]

NORMALISATION = "views-1"
"""What a bundle exported today has, and what checkpoints are scored with."""
MIN_ROOM = 4
"""The least tokens of text that a window must have room for: overlapping needs a few."""

# A hieroglyph and private characters: what a model makes of them is its unknown token.
_NOWHERE = "\U000131a5\U0010fffd\ue000"


@dataclass(frozen=True)
class Piece:
    """One part of a template: a special token (`token`, `id`) or a text (`text`)."""

    type: int
    token: str | None = None
    id: int | None = None
    text: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As a manifest has it."""
        if self.text is not None:
            return {"text": self.text, "type": self.type}
        return {"token": self.token, "id": self.id, "type": self.type}


@dataclass(frozen=True)
class Template:
    """What stands around the texts, for a prompt alone and for an exchange."""

    prompt: tuple[Piece, ...]
    exchange: tuple[Piece, ...]

    @staticmethod
    def from_json(value: dict[str, list[dict[str, Any]]]) -> Template:
        """As a manifest has it. Raises ManifestError."""

        def pieces(kind: str, texts: list[str]) -> tuple[Piece, ...]:
            try:
                found = tuple(Piece(**piece) for piece in value[kind])
                if any((p.text is None) != isinstance(p.id, int) for p in found):
                    raise TypeError
            except (KeyError, TypeError) as error:
                raise ManifestError(
                    f"input.template.{kind}: unreadable ({type(error).__name__}); "
                    'expected a list of {"token", "id", "type"} and {"text", "type"}'
                ) from None
            if [p.text for p in found if p.text is not None] != texts:
                raise ManifestError(
                    f"input.template.{kind}: texts must be {texts} in this order, each once"
                )
            return found

        return Template(pieces("prompt", ["prompt"]), pieces("exchange", ["prompt", "response"]))

    def to_json(self) -> dict[str, list[dict[str, Any]]]:
        """As a manifest has it."""
        return {
            "prompt": [p.to_json() for p in self.prompt],
            "exchange": [p.to_json() for p in self.exchange],
        }

    @staticmethod
    def from_tokenizer(tokenizer: Tokenizer) -> Template:
        """Read the template off the tokenizer's post-processor, by encoding two probes."""
        _require_uncut(tokenizer)

        def probe(*texts: str) -> tuple[Piece, ...]:
            encoding = tokenizer.encode(*texts)
            pieces: list[Piece] = []
            last: int | None = None
            for token, id_, type_, sequence in zip(
                encoding.tokens,
                encoding.ids,
                encoding.type_ids,
                encoding.sequence_ids,
                strict=True,
            ):
                if sequence is None:
                    pieces.append(Piece(type=type_, token=token, id=id_))
                elif sequence != last:
                    pieces.append(Piece(type=type_, text=("prompt", "response")[sequence]))
                last = sequence
            return tuple(pieces)

        template = Template(probe("a"), probe("a", "a"))
        if not any(p.token for p in template.exchange):
            raise TokenizerError(
                "the tokenizer adds no special tokens to a pair; expected a post-processor "
                "such as [CLS] A [SEP] B [SEP]; likely a tokenizer saved without one"
            )
        return template


@dataclass(frozen=True)
class Window:
    """One model input: ids and token types, int64 [length], specials included."""

    ids: IntArray
    types: IntArray


@dataclass(frozen=True)
class Encoded:
    """All windows of one pair in all its views, those of the texts as they are first.

    `tokens` are those of the texts as they are, without special ones.
    """

    windows: tuple[Window, ...]
    tokens: int
    prompt_tokens: int
    """Those of the prompt in the view that has most; 0 if nothing of it is seen in any."""
    views: tuple[ViewName, ...] = ()
    """Of which view each window is; empty if all are of the texts as they are."""

    @property
    def plain(self) -> int:
        """How many windows are of the texts as they are."""
        return self.views.count("text") if self.views else len(self.windows)

    def view(self, window: int) -> ViewName:
        """Of which view a window is."""
        return self.views[window] if self.views else "text"


class PairEncoder:
    """Encodes pairs with one tokenizer and template into windows of at most `max_tokens`.

    A pair that fits is one window. A longer prompt alone is cut into windows that
    overlap by a quarter. In an exchange a side that fills at most half of the room is
    kept whole in every window while the other slides; when both are longer, each keeps
    half: every part of the response is seen with the head of the prompt, and every part
    of the prompt with the head of the response, so the number of windows is linear in
    the length and no token goes unseen.

    `normalisation` is the manifest's: "none", or "views-1", which adds the windows of a pair's
    other views (`harmguard.core.views`), each window once.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        template: Template,
        max_tokens: int,
        normalisation: str = "none",
    ) -> None:
        _require_uncut(tokenizer)
        # Literal [SEP] in a text must stay text, or a prompt could end itself.
        tokenizer.encode_special_tokens = True
        self._tokenizer = tokenizer
        self._template = template
        self.max_tokens = max_tokens
        self._has_views = normalisation != "none"
        self._prompt_room = max_tokens - sum(p.text is None for p in template.prompt)
        self._exchange_room = max_tokens - sum(p.text is None for p in template.exchange)
        if min(self._prompt_room, self._exchange_room) < MIN_ROOM:
            raise ManifestError(
                f"max_tokens is {max_tokens}, which leaves less than {MIN_ROOM} tokens for the "
                "texts beside the special tokens; likely a wrong max_tokens"
            )
        # Only WordPiece drops a whole word for its length or for one character in it.
        self._unknown: int | None = None
        self._word_limit = 0
        if isinstance(tokenizer.model, WordPiece):
            self._unknown = tokenizer.token_to_id(tokenizer.model.unk_token)
            # A third, for normalisation makes up to three characters of one.
            self._word_limit = max(1, tokenizer.model.max_input_chars_per_word // 3)
        self._reserved = self._spell_reserved()

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer, as it was given."""
        return self._tokenizer

    def _spell_reserved(self) -> dict[int, list[int]]:
        """Ids that only a template may place -> the ids of the token's letters as text."""
        added = self._tokenizer.get_added_tokens_decoder()
        names = {id_: token.content for id_, token in added.items() if token.special}
        for piece in (*self._template.prompt, *self._template.exchange):
            if piece.id is not None:
                names[piece.id] = piece.token or ""
        # What stands for unknown text is no token that only a template may place.
        unknown = {i for letter in _NOWHERE for i in self._raw(letter)} | {self._unknown}
        names = {id_: name for id_, name in names.items() if id_ not in unknown}
        return {
            id_: [i for letter in name for i in self._raw(letter) if i not in names]
            for id_, name in names.items()
        }

    def _raw(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def ids(self, text: str) -> list[int]:
        """Token ids of one text, without special tokens, in time linear in its length.

        Where WordPiece would make one unknown token of a word, because the word is long or
        holds a character that the vocabulary lacks, the parts that it knows are kept: text
        is not hidden by leaving out the spaces or by a symbol inside each word.
        """
        encoding = encode_text(self._tokenizer, text)
        ids: list[int] = encoding.ids
        if self._unknown is not None and self._unknown in ids:
            whole, ids = ids, []
            for id_, (start, end) in zip(whole, encoding.offsets, strict=True):
                lost = id_ == self._unknown and end - start > 1
                ids.extend(self._spell(text[start:end]) if lost else [id_])
        if not self._reserved.keys().isdisjoint(ids):
            ids = [part for id_ in ids for part in self._reserved.get(id_, [id_])]
        return ids

    def _spell(self, word: str) -> list[int]:
        """Ids of a word that is unknown as a whole; a run of unknown characters is one id."""
        ids: list[int] = []
        for start in range(0, len(word), self._word_limit):
            part = word[start : start + self._word_limit]
            known = {letter: self._unknown not in self._raw(letter) for letter in set(part)}
            for is_known, letters in groupby(part, known.__getitem__):
                run = "".join(letters)
                found = self._raw(run) if is_known else [self._unknown or 0]
                if is_known and self._unknown in found:
                    found = [id_ for letter in run for id_ in self._raw(letter)]
                if not is_known and ids[-1:] == found:
                    continue
                ids.extend(found)
        return ids

    def encode(self, prompt: str, response: str | None = None) -> Encoded:
        """Windows of a prompt alone (`response` None) or of an exchange, in every view."""
        plain = self.encode_plain(prompt, response)
        if not self._has_views:
            return plain
        views = views_of_pair(prompt, response)
        if len(views) == 1:
            return plain
        seen = {window.ids.tobytes() for window in plain.windows}
        windows = list(plain.windows)
        names: list[ViewName] = ["text"] * len(windows)
        most = plain.prompt_tokens
        for view in views[1:]:
            encoded = self.encode_plain(view.prompt, view.response)
            most = max(most, encoded.prompt_tokens)
            for window in encoded.windows:
                key = window.ids.tobytes()
                if key not in seen:
                    seen.add(key)
                    windows.append(window)
                    names.append(view.name)
        return Encoded(tuple(windows), plain.tokens, most, tuple(names))

    def encode_plain(self, prompt: str, response: str | None = None) -> Encoded:
        """As `encode`, of the texts as they are alone."""
        p = self.ids(prompt)
        if response is None:
            windows = [self._prompt_window(part) for part in _slide(p, self._prompt_room)]
            tokens = len(p)
        else:
            r = self.ids(response)
            parts = _pair_parts(p, r, self._exchange_room)
            windows = [self._exchange_window(a, b) for a, b in parts]
            tokens = len(p) + len(r)
        return Encoded(tuple(windows), tokens, len(p))

    def _prompt_window(self, prompt: Sequence[int]) -> Window:
        return _fill(self._template.prompt, {"prompt": prompt})

    def _exchange_window(self, prompt: Sequence[int], response: Sequence[int]) -> Window:
        return _fill(self._template.exchange, {"prompt": prompt, "response": response})


def _require_uncut(tokenizer: Tokenizer) -> None:
    if tokenizer.truncation is not None or tokenizer.padding is not None:
        raise TokenizerError(
            "tokenizer has truncation or padding set; expected both null; "
            "likely copied from a checkpoint as it stands: it would cut text silently"
        )


def _fill(pieces: Iterable[Piece], texts: dict[str, Sequence[int]]) -> Window:
    ids: list[int] = []
    types: list[int] = []
    for piece in pieces:
        part: Sequence[int] = texts[piece.text] if piece.text is not None else [piece.id or 0]
        ids.extend(part)
        types.extend([piece.type] * len(part))
    return Window(np.array(ids, np.int64), np.array(types, np.int64))


def _slide(ids: Sequence[int], room: int) -> list[Sequence[int]]:
    """Parts of at most `room` ids that overlap by a quarter; the last one ends at the end."""
    if len(ids) <= room:
        return [ids]
    step = room - room // 4
    starts = [*range(0, len(ids) - room, step), len(ids) - room]
    return [ids[start : start + room] for start in starts]


def _pair_parts(
    prompt: Sequence[int], response: Sequence[int], room: int
) -> list[tuple[Sequence[int], Sequence[int]]]:
    if len(prompt) + len(response) <= room:
        return [(prompt, response)]
    half = room // 2
    if len(prompt) <= half:
        return [(prompt, part) for part in _slide(response, room - len(prompt))]
    if len(response) <= half:
        return [(part, response) for part in _slide(prompt, room - len(response))]
    prompts, responses = _slide(prompt, half), _slide(response, half)
    return [(prompts[0], part) for part in responses] + [
        (part, responses[0]) for part in prompts[1:]
    ]
