"""`python -m ...` and `python -c ...` in processes that have torch and transformers at hand.

A fresh interpreter needs 4 s to import them. A server that imports and does nothing else is forked
for each process instead, so that what a process computes, writes or is killed in is its own.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import MappingProxyType
from unittest import mock

# coremltools is not among them: tests hide it, and it writes to stderr when it is imported.
IMPORTED = [
    "harmguard.training.distil.distill",
    "harmguard.training.harmaug.run",
    "transformers.models.bert.modeling_bert",
]
SETTINGS = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
"""What the server, and so every process, has in its environment."""
_BEGINNING = threading.Lock()


def start(
    arguments: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] = MappingProxyType({}),
    pipes: Sequence[Connection] = (),
) -> BaseProcess:
    """Begin `python ARGUMENTS`, whose first one is -m or -c, and return its process.

    `env` is what it has besides the environment of the server; `pipes` are its stdout and stderr,
    and without them both are thrown away.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    with _BEGINNING, mock.patch.dict(os.environ, SETTINGS):
        forkserver.ensure_running()
    given = (list(map(str, arguments)), str(cwd or Path.cwd()), dict(env), list(pipes))
    process = context.Process(target=_begin, args=given)
    process.start()
    for pipe in pipes:
        pipe.close()
    return process


def run(
    arguments: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] = MappingProxyType({}),
) -> subprocess.CompletedProcess[str]:
    """Run `python ARGUMENTS` to its end and return its exit status and what it wrote."""
    # Not files: a test may limit how large those may become.
    readers, writers = zip(*(multiprocessing.Pipe(duplex=False) for _ in range(2)), strict=True)
    process = start(arguments, cwd=cwd, env=env, pipes=writers)
    with ThreadPoolExecutor(2) as pool:
        stdout, stderr = pool.map(_read, readers)
    process.join()
    assert process.exitcode is not None
    return subprocess.CompletedProcess(list(arguments), process.exitcode, stdout, stderr)


def _read(pipe: Connection) -> str:
    with pipe, open(pipe.fileno(), encoding="utf-8", closefd=False) as file:
        return file.read()


def _begin(arguments: list[str], cwd: str, env: dict[str, str], pipes: list[Connection]) -> None:
    """What the process does, from its working directory and its arguments on."""
    os.chdir(cwd)
    os.environ.update(env)
    nothing = os.open(os.devnull, os.O_WRONLY)
    for number, file in zip(
        (1, 2), [pipe.fileno() for pipe in pipes] or [nothing] * 2, strict=True
    ):
        os.dup2(file, number)
    for pipe in pipes:
        pipe.close()
    option, what, *rest = arguments
    sys.argv = [option, *rest]
    if option == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})
