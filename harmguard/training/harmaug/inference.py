"""The functions that stages apply to blocks of rows, wherever an engine runs them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harmguard.checkpoint import is_hub
from harmguard.core.scores import logit, sigmoid
from harmguard.errors import TeacherError
from harmguard.training.harmaug.chat import ids_of, opened_turn, verdict_place, verdict_words
from harmguard.training.harmaug.engines import open_backend
from harmguard.training.harmaug.plan import Engine, Label, Sampling
from harmguard.training.models import Model
from harmguard.training.stage import REASON, Item

TOO_LONG = "too long for the teacher"


def seed_of(seed: int, name: str) -> int:
    """A row's own seed, from the run's seed and the row's id."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:6], "big")


@dataclass(frozen=True)
class Continue:
    """Items {"id", "request", "prefix"} -> {"id", "text"}: an assistant's turn, continued.

    Instead of "text" there may be a reason why there is none, as in `engines.Backend`.
    """

    engine: Engine
    model: Model
    sampling: Sampling
    seed: int

    @property
    def rows_apart(self) -> bool:
        """True behind a server; on this machine padding reaches the last bits of a number."""
        return self.engine.kind == "openai"

    def open(self) -> Callable[[Sequence[Item]], list[Item]]:
        """Load the model; the function from a block to its texts."""
        backend = open_backend(self.engine, self.model)

        def function(items: Sequence[Item]) -> list[Item]:
            prompts = [opened_turn(backend.tokenizer, i["request"], i["prefix"]) for i in items]
            seeds = [seed_of(self.seed, i["id"]) for i in items]
            texts = backend.generate(prompts, seeds, self.sampling)
            return [{"id": i["id"], **text} for i, text in zip(items, texts, strict=True)]

        return function


@dataclass(frozen=True)
class Judge:
    """Items {"id", "prompt", "response"} -> {"id", "soft"}: a teacher's P(harmful) in [0, 1]."""

    engine: Engine
    label: Label

    @property
    def rows_apart(self) -> bool:
        """As in `Continue`; a classifier or a bundle runs here whatever the engine."""
        return self.engine.kind == "openai" and self.label.kind == "causal"

    def open(self) -> Callable[[Sequence[Item]], list[Item]]:
        """Load the teacher; the function from a block to its soft labels."""
        margins = {"causal": self._causal, "classifier": self._classifier, "bundle": self._bundle}[
            self.label.kind
        ]()

        def function(items: Sequence[Item]) -> list[Item]:
            found = margins(items)
            return [
                {"id": i["id"], **(_soft(m, self.label.temperature) if isinstance(m, float) else m)}
                for i, m in zip(items, found, strict=True)
            ]

        return function

    def _causal(self) -> Callable[[Sequence[Item]], list[float | Item]]:
        backend = open_backend(self.engine, self.label.model)
        tokenizer, append = backend.tokenizer, self.label.append
        words = verdict_words(tokenizer, append)

        def margins(items: Sequence[Item]) -> list[float | Item]:
            pairs = [(item["prompt"], item["response"]) for item in items]
            prompts = [ids_of(tokenizer, verdict_place(tokenizer, *p, append)) for p in pairs]
            fits = [i for i, ids in enumerate(prompts) if len(ids) <= self.label.max_tokens]
            out: list[float | Item] = [{REASON: TOO_LONG} for _ in items]
            verdicts = backend.verdicts([prompts[i] for i in fits], words) if fits else []
            for i, verdict in zip(fits, verdicts, strict=True):
                known = "unsafe" in verdict
                out[i] = verdict["unsafe"] - verdict["safe"] if known else verdict
            return out

        return margins

    def _classifier(self) -> Callable[[Sequence[Item]], list[float | Item]]:
        from harmguard.training.distil.ensemble import open_scorer

        model = self.label.model
        scorer = open_scorer(model.path, model.revision if is_hub(model.path) else None)
        return lambda items: [
            float(logit(s))
            for s in scorer.score_many([(i["prompt"], i["response"]) for i in items])
        ]

    def _bundle(self) -> Callable[[Sequence[Item]], list[float | Item]]:
        from harmguard import HarmGuard

        guard = HarmGuard(self.label.model.path)
        return lambda items: [
            float(logit(s)) for s in guard.score_many([(i["prompt"], i["response"]) for i in items])
        ]


def _soft(margin: float, temperature: float) -> Item:
    """softmax([safe, unsafe] / temperature)[1] of the difference of the two logits."""
    if not math.isfinite(margin):
        raise TeacherError("a verdict that is not a number; expected two finite logits")
    return {"soft": float(sigmoid(margin / temperature))}
