"""Text pair -> token ids -> windows -> batches of like length.

One encoder for training, export and run time, so that a guard sees at run time
exactly what it was trained on. Imports numpy and tokenizers only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from harmguard.errors import ManifestError, TokenizerError

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Piece:
    """One part of a template: a special token (`token`, `id`) or a text (`text`)."""

    type: int
    token: str | None = None
    id: int | None = None
    text: str | None = None

    def to_json(self) -> dict[str, Any]:
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
        def pieces(kind: str, texts: list[str]) -> tuple[Piece, ...]:
            try:
                found = tuple(Piece(**piece) for piece in value[kind])
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
        return {
            "prompt": [p.to_json() for p in self.prompt],
            "exchange": [p.to_json() for p in self.exchange],
        }

    @staticmethod
    def from_tokenizer(tokenizer: Tokenizer) -> Template:
        """Read the template off the tokenizer's post-processor, by encoding two probes."""

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
    """All windows of one pair, and its number of text tokens (specials not counted)."""

    windows: tuple[Window, ...]
    tokens: int


class PairEncoder:
    """Encodes pairs with one tokenizer and template into windows of at most `max_tokens`.

    A pair that fits is one window. A longer prompt alone is cut into windows that
    overlap by a quarter. In an exchange a side that fills at most half of the room is
    kept whole in every window while the other slides; when both are longer, each keeps
    half: every part of the response is seen with the head of the prompt, and every part
    of the prompt with the head of the response, so the number of windows is linear in
    the length and no token goes unseen.
    """

    def __init__(self, tokenizer: Tokenizer, template: Template, max_tokens: int) -> None:
        if tokenizer.truncation is not None or tokenizer.padding is not None:
            raise TokenizerError(
                "tokenizer has truncation or padding set; expected both null; "
                "likely copied from a checkpoint as it stands: it would cut text silently"
            )
        # Literal [SEP] in a text must stay text, or a prompt could end itself.
        tokenizer.encode_special_tokens = True
        self._tokenizer = tokenizer
        self._template = template
        self.max_tokens = max_tokens

    def ids(self, text: str) -> list[int]:
        """Token ids of one text, without special tokens."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def encode(self, prompt: str, response: str | None = None) -> Encoded:
        """Windows of a prompt alone (`response` None) or of an exchange."""
        p = self.ids(prompt)
        if response is None:
            room = self.max_tokens - len(self._template.prompt) + 1
            windows = [self._prompt_window(part) for part in _slide(p, room)]
            return Encoded(tuple(windows), len(p))
        r = self.ids(response)
        room = self.max_tokens - len(self._template.exchange) + 2
        windows = [self._exchange_window(a, b) for a, b in _pair_parts(p, r, room)]
        return Encoded(tuple(windows), len(p) + len(r))

    def _prompt_window(self, prompt: Sequence[int]) -> Window:
        return _fill(self._template.prompt, {"prompt": prompt})

    def _exchange_window(self, prompt: Sequence[int], response: Sequence[int]) -> Window:
        return _fill(self._template.exchange, {"prompt": prompt, "response": response})


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


def padded_length(length: int) -> int:
    """The length a window is padded to: depends on the window's own length alone."""
    step = 8 if length <= 64 else 16 if length <= 128 else 32
    return -(-length // step) * step


def batches(lengths: Sequence[int], max_batch_tokens: int) -> Iterator[list[int]]:
    """Group indices of windows of one padded length, at most `max_batch_tokens` a batch."""
    groups: dict[int, list[int]] = {}
    for index, length in enumerate(lengths):
        groups.setdefault(padded_length(length), []).append(index)
    for padded in sorted(groups):
        size = max(1, max_batch_tokens // padded)
        members = groups[padded]
        for start in range(0, len(members), size):
            yield members[start : start + size]
