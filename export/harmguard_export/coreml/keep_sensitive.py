"""Which weights a 4-bit recipe keeps in int8: the most sensitive ones, as many as the gate needs.

Each weight is put in its 4-bit form alone, and the program's logits on a few texts are compared.
Then the most sensitive 0, 1, 2, 4, ... are kept in int8 until the parity on the gate's pairs is
within `_MARGIN` of its limits. Everything is measured on the float32 program, whose weights are
replaced in place: compression is all that a weight-only recipe changes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from harmguard.bundle.coreml import Lengths
from harmguard.core.batch import Logits
from harmguard.core.encode import Encoded
from harmguard_export import parity
from harmguard_export.coreml.compress import pack
from harmguard_export.coreml.package_scorer import program_logits
from harmguard_export.coreml.program import Pack
from harmguard_export.coreml.recipes import HEAD
from harmguard_export.coreml.torch_program import Evaluator
from harmguard_export.manifest_fields import THRESHOLD
from harmguard_export.quantization.recipe import Limits

_MARGIN = 0.8
# Texts that the sensitivity is measured on, the shorter half of which come first.
_TEXTS = 12


@dataclass(frozen=True)
class Search:
    """What is searched: a program by its builder, how its weights are stored, what is allowed."""

    build: Callable[[Pack], Any]
    weights: str
    whole: bool
    lengths: Lengths
    pad_id: int
    limits: Limits


def choose_kept(
    search: Search,
    evaluator: Evaluator,
    own: Sequence[Encoded],
    gated: Sequence[Encoded],
    expected: Logits,
    labels: npt.NDArray[np.int64] | None,
) -> dict[str, str]:
    """Names of the weights that are kept in int8, with that kind, most sensitive first."""
    small, kept_forms = _forms(search, search.weights), _forms(search, "int8")
    few = _few(own)

    def logits(weights: dict[str, Any], encoded: Sequence[Encoded]) -> Logits:
        found = evaluator.replaced(weights)
        return program_logits(found, encoded, search.lengths, search.pad_id, lambda _: None)

    exact = logits({}, few)
    errors = {
        name: float(((logits({name: form}, few) - exact) ** 2).mean())
        for name, form in small.items()
    }
    order = sorted(errors, key=lambda name: -errors[name])
    limits = search.limits
    tight = replace(limits, **{f: getattr(limits, f) * _MARGIN for f in vars(limits)})
    count = 0
    while True:
        kept = order[:count]
        found = logits({**small, **{name: kept_forms[name] for name in kept}}, gated)
        measured = parity.measure(expected, found, gated, THRESHOLD, labels)
        if not measured.missed(tight) or count >= len(order):
            return dict.fromkeys(kept, "int8")
        count = min(len(order), max(1, 2 * count))


def _few(own: Sequence[Encoded]) -> list[Encoded]:
    """Short texts and some longer ones, one window each."""
    single = sorted((e for e in own if len(e.windows) == 1), key=lambda e: e.tokens)
    places = np.linspace(0, max(0, len(single) * 3 // 4 - 1), min(_TEXTS, len(single)))
    return [single[int(place)] for place in places]


def _forms(search: Search, kind: str) -> dict[str, Any]:
    """Every weight's values when it is stored as `kind`; the head is never compressed."""
    found: dict[str, Any] = {}

    def store(name: str, weight: Any) -> Any:
        if name not in HEAD:
            found[name] = pack(weight, kind, whole=search.whole).dense()
        return pack(weight, "fp16")

    search.build(store)
    return found
