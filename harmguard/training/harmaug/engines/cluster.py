"""Blocks of rows over the actors of a Ray cluster, with Ray Data."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from harmguard import errors
from harmguard.errors import EngineError, HarmGuardError
from harmguard.extras import require
from harmguard.training.harmaug.plan import Engine
from harmguard.training.stage import Item, Work

require("engine ray", "ray", extra="train,scale")

import ray  # noqa: E402
import ray.data  # noqa: E402


class _Actor:
    """Opens the work once, where it was placed, and applies it to one block at a time."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._function: Callable[[Sequence[Item]], list[Item]] | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        # JSON text, since a table's column would want the same fields in every row.
        results = [json.dumps(self._results(json.loads(str(block)))) for block in batch["block"]]
        return {"results": np.array(results, dtype=object)}

    def _results(self, block: list[Item]) -> list[Item] | dict[str, str]:
        try:
            self._function = self._function or self._work.open()
            return self._function(block)
        except HarmGuardError as error:  # Ray would keep only its text
            return {"error": type(error).__name__, "message": str(error)}


def run_on_cluster(work: Work, blocks: list[list[Item]], engine: Engine) -> Iterator[list[Item]]:
    """Results of the blocks as they come in.

    A block whose actor dies is given to another; the ids in the journal keep a block that
    was done twice from counting twice. Uses the cluster of RAY_ADDRESS, or starts one here.
    A harmguard error of the work is raised here by its name. Raises EngineError when Ray gives
    up.
    """
    if not blocks:
        return
    if not ray.is_initialized():
        ray.init(include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    rows = [{"block": json.dumps(block)} for block in blocks]
    results = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        _Actor,
        fn_constructor_args=(work,),
        batch_size=1,
        # Ray Data's actors start again, and their tasks are tried again, without end.
        compute=ray.data.ActorPoolStrategy(size=min(engine.workers, len(blocks))),
        num_gpus=engine.gpus or None,
    )
    try:
        for row in results.iter_rows():
            found = json.loads(row["results"])
            if isinstance(found, dict):
                raise getattr(errors, found["error"])(found["message"])
            yield found
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None)
        raise EngineError(
            f"ray stopped ({type(cause or error).__name__}); expected every block to come back; "
            "likely no room or no model on a worker; finished rows are kept"
        ) from None
