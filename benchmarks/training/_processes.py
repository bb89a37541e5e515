"""Items of work in processes that share the cores: two of one thread do more than one of two."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context, parent_process
from multiprocessing.process import BaseProcess
from typing import TypeVar

from harmguard.core.cores import default_threads

# glibc gives each large tensor's pages back at once; to ask for them again is a third of a step.
ALLOCATION = {
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "17179869184",
}

Given = TypeVar("Given")
Made = TypeVar("Made")


def each(function: Callable[[Given], Made], items: Sequence[Given], jobs: int) -> list[Made]:
    """The results of all items, in order; `jobs` processes share the cores, 0: in this one."""
    if not jobs:
        return [function(item) for item in items]
    os.environ.update({key: os.environ.get(key, value) for key, value in ALLOCATION.items()})
    threads = max(default_threads() // jobs, 1)
    with ProcessPoolExecutor(jobs, get_context("spawn"), _begin, (threads,)) as pool:
        return list(pool.map(function, items))


def _begin(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: BaseProcess) -> None:
    """End when the command is killed: what goes on would keep its stage from the next call."""
    parent.join()
    os._exit(1)
