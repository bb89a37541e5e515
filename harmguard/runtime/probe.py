"""A model and its tokenizer tried on each other, so that a mismatch is found before a text is."""

from __future__ import annotations

from typing import Any

import numpy as np

from harmguard.bundle.spec import InputSpec
from harmguard.core.batch import pad, padding_within
from harmguard.core.encode import PairEncoder, Window
from harmguard.core.tokenizing import named_errors
from harmguard.errors import GraphMismatchError, RunError
from harmguard.runtime.calls import under_way
from harmguard.runtime.session import Session

_PROBE = "Hello"


def probe(session: Session, encoder: PairEncoder, tokenizer: Any, spec: InputSpec) -> None:
    """Run one short text of each kind, and a row of the largest ids and types, all at once.

    Raises TokenizerError, GraphMismatchError, or GuardClosedError where the process ends.
    """
    with under_way():
        texts = ((_PROBE,), (_PROBE, _PROBE))
        windows = [named_errors("a short probe", encoder.encode, *t).windows[0] for t in texts]
        largest = named_errors("the vocabulary", _largest_id, tokenizer, spec, False)
    ids = sorted({largest, spec.pad_id, *_special_ids(spec)})[-spec.max_tokens :]
    windows.append(Window(np.array(ids, np.int64), _types(spec, len(ids))))
    _run(session, windows, spec, f"short probes with token ids up to {ids[-1]:,}")


def largest_window(tokenizer: Any, spec: InputSpec) -> Window:
    """A window of `max_tokens` tokens, each the largest id that a text can get.

    Raises TokenizerError.
    """
    largest = named_errors("the vocabulary", _largest_id, tokenizer, spec, True)
    return Window(np.full(spec.max_tokens, largest, np.int64), _types(spec, spec.max_tokens))


def probe_largest(session: Session, window: Window, spec: InputSpec) -> None:
    """Run what `largest_window` gave. Raises GraphMismatchError."""
    _run(session, [window], spec, f"a window of {spec.max_tokens:,} tokens, the largest it takes")


def _run(session: Session, windows: list[Window], spec: InputSpec, what: str) -> None:
    try:
        session.run(*pad(windows, spec.pad_id, padding_within(spec.max_tokens)), shrink=False)
    except RunError:
        kinds = ", ".join(map(str, sorted({piece.type for piece in _pieces(spec)})))
        raise GraphMismatchError(
            f"model.onnx fails on {what}, pad {spec.pad_id} and types {kinds}; expected "
            "logits; likely a tokenizer, a template or a max_tokens of another model, whose ids "
            "or positions have no embedding here"
        ) from None


def _pieces(spec: InputSpec) -> set[Any]:
    return {*spec.template.prompt, *spec.template.exchange}


def _special_ids(spec: InputSpec) -> set[int]:
    return {piece.id for piece in _pieces(spec) if piece.id is not None}


def _types(spec: InputSpec, count: int) -> Any:
    """Token types by turns: every one that a template gives."""
    kinds = sorted({piece.type for piece in _pieces(spec)})
    return np.resize(np.array(kinds, np.int64), count)


def _largest_id(tokenizer: Any, spec: InputSpec, every: bool) -> int:
    """The largest id that a text can get; `every` also looks for gaps, which takes a while."""
    added = tokenizer.get_added_tokens_decoder()
    free = {id_ for id_, token in added.items() if not token.special}
    size = tokenizer.get_vocab_size(with_added_tokens=False)
    if every and hasattr(tokenizer, "get_vocab"):
        free |= set(tokenizer.get_vocab(with_added_tokens=False).values()) - (added.keys() - free)
    elif size - 1 not in added:
        free.add(size - 1)
    return int(max({0, *free, *_special_ids(spec)}))
