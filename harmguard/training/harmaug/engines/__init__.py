"""Where models run: on this machine, behind an OpenAI-compatible server, or on a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from itertools import islice
from typing import Any, Protocol

from harmguard.training.harmaug.plan import Engine, Sampling
from harmguard.training.models import Model
from harmguard.training.stage import Item, Work

Prompts = Sequence[Sequence[int]]  # token ids, special tokens included


class Backend(Protocol):
    """A language model that takes token ids."""

    tokenizer: Any

    def generate(self, prompts: Prompts, seeds: Sequence[int], sampling: Sampling) -> list[Item]:
        """One {"text"} per prompt, which depends on the prompt and its seed.

        {"reason"} where there cannot be one, {"refused"} where a server takes no such prompt,
        {"failed"} where it must be asked for again.
        """

    def verdicts(self, prompts: Prompts, words: tuple[int, int]) -> list[Item]:
        """The same with {"safe", "unsafe"}: logits or log-probabilities of the next token."""


def open_backend(engine: Engine, model: Model) -> Backend:
    """The model where this process runs; a worker of the engine `ray` has its own copy."""
    if engine.kind == "openai":
        from harmguard.training.harmaug.engines.server import ServerModel

        return ServerModel(model)
    from harmguard.training.harmaug.engines.local import LocalModel, narrow

    return LocalModel.load(model, narrow=narrow(engine))


def executor(
    engine: Engine, work: Work
) -> tuple[Callable[[list[list[Item]]], Iterator[list[Item]]], int]:
    """What carries blocks to `work`, results in any order of blocks; and the rows of a block."""
    if work.rows_apart:
        return lambda blocks: _at_once(work, blocks, engine.workers), 1
    if engine.kind == "ray":
        from harmguard.training.harmaug.engines.cluster import run_on_cluster

        return lambda blocks: run_on_cluster(work, blocks, engine), engine.block_rows
    return lambda blocks: _here(work, blocks), engine.block_rows


def _here(work: Work, blocks: list[list[Item]]) -> Iterator[list[Item]]:
    if not blocks:  # nothing left: no model is loaded
        return
    function = work.open()
    for block in blocks:
        yield function(block)


def _at_once(work: Work, blocks: list[list[Item]], limit: int) -> Iterator[list[Item]]:
    """At most `limit` blocks at a time, results as they come; an error waits for those begun."""
    if not blocks:
        return
    function, left = work.open(), iter(blocks)
    error: BaseException | None = None
    with ThreadPoolExecutor(limit) as pool:
        running = {pool.submit(function, block) for block in islice(left, limit)}
        while running:
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                error = error or future.exception()
            if error is None:
                running |= {pool.submit(function, block) for block in islice(left, len(finished))}
            yield [r for f in finished if f.exception() is None for r in f.result()]
    if error is not None:
        raise error
