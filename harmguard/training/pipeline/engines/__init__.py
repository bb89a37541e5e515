"""Where models run: on this machine, behind an OpenAI-compatible server, or on a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from harmguard.training.pipeline.recipe import Engine, Model, Sampling
from harmguard.training.pipeline.stage import Item, Work

Prompts = Sequence[Sequence[int]]  # token ids, special tokens included


class Backend(Protocol):
    """A language model that takes token ids."""

    tokenizer: Any

    def generate(self, prompts: Prompts, seeds: Sequence[int], sampling: Sampling) -> list[Item]:
        """One {"text"} (or {"failed"}) per prompt; a text depends on its prompt and its seed."""

    def verdicts(self, prompts: Prompts, words: tuple[int, int]) -> list[Item]:
        """One {"safe", "unsafe"} of logits or log-probabilities of the next token per prompt.

        {"reason"} where there cannot be one, {"failed"} where it must be asked for again.
        """


def open_backend(engine: Engine, model: Model) -> Backend:
    """The model where this process runs; a worker of the engine `ray` has its own copy."""
    if engine.kind == "openai":
        from harmguard.training.pipeline.engines.server import ServerModel

        return ServerModel(model, requests=engine.workers)
    from harmguard.training.pipeline.engines.local import LocalModel

    return LocalModel.load(model)


def executor(engine: Engine, work: Work) -> Callable[[list[list[Item]]], Iterator[list[Item]]]:
    """What carries blocks to `work` and gives their results back, in any order of blocks."""
    if engine.kind == "ray":
        from harmguard.training.pipeline.engines.cluster import run_on_cluster

        return lambda blocks: run_on_cluster(work, blocks, engine)
    return lambda blocks: _here(work, blocks)


def _here(work: Work, blocks: list[list[Item]]) -> Iterator[list[Item]]:
    if not blocks:  # nothing left: no model is loaded
        return
    function = work.open()
    for block in blocks:
        yield function(block)
