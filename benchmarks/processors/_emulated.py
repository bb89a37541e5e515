"""One processor's side of `portability`: scores every pair, one reply on stdout.

It runs under an emulator with the packages of the emulated processor: base install only.
"""

from __future__ import annotations

import base64
import ctypes
import importlib
import json
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import tokenizers

from harmguard import HarmGuard
from harmguard.runtime import session as runtime

PRECISE = "session.x64quantprecision"
X86 = ("x86_64", "amd64")
# By numpy's names: AVX512_CLX and later have VNNI, ASIMDDP is the dot product.
_FEATURES = ("AVX2", "FMA3", "AVX512F", "AVX512_SKX", "AVX512_CLX", "ASIMD", "ASIMDDP", "SVE")
# Bits of Linux's auxiliary vector on 64-bit ARM, for what numpy does not tell.
_AT_HWCAP2 = 26
_ARM_FEATURES = {"i8mm": 1 << 13, "sme": 1 << 23}


def main() -> int:
    """Read {bundle, pairs, threads, probe} from stdin, write what `answer` says."""
    print(json.dumps(answer(**json.load(sys.stdin))))
    return 0


def answer(
    bundle: str, pairs: Sequence[Sequence[str | None]], threads: int, probe: str
) -> dict[str, Any]:
    """Processor, versions, and for each run its scores, seconds and the probe's share.

    On x86 there is a second run, with onnxruntime's option for exact products. `probe` is a model
    in base64; its share is the part of the right result that it computes, 1 if nothing saturates.
    """
    model = base64.b64decode(probe)
    runs = {"plain": _Run(bundle, threads, model)}
    if platform.machine().lower() in X86:
        with _exact():
            runs["precise"] = _Run(bundle, threads, model)
    for prompt, response in pairs:
        # In turn, so that a slow minute falls on both.
        for run in runs.values():
            run.score(str(prompt), response)
    return {
        "machine": platform.machine(),
        "features": features(),
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "tokenizers": tokenizers.__version__,
            "onnxruntime": runtime.ort.__version__,
        },
        "runs": {name: run.result(runs["plain"]) for name, run in runs.items()},
    }


@contextmanager
def _exact() -> Iterator[None]:
    """Sessions that are made meanwhile have onnxruntime's option for exact products."""
    plain = runtime._options

    def precise(threads: int) -> Any:
        options = plain(threads)
        options.add_session_config_entry(PRECISE, "1")
        return options

    with mock.patch.object(runtime, "_options", precise):
        yield


def features() -> list[str]:
    """What decides the matrix kernels, asked from the processor: /proc may show the host's."""
    told = importlib.import_module("numpy._core._multiarray_umath").__cpu_features__
    names = [name.lower() for name in _FEATURES if told.get(name)]
    if platform.machine() == "aarch64" and sys.platform == "linux":
        ask = ctypes.CDLL(None).getauxval
        ask.argtypes, ask.restype = [ctypes.c_ulong], ctypes.c_ulong
        names += [name for name, bit in _ARM_FEATURES.items() if ask(_AT_HWCAP2) & bit]
    return names


class _Run:
    def __init__(self, bundle: str, threads: int, probe: bytes) -> None:
        start = time.perf_counter()
        self._guard = HarmGuard(Path(bundle), threads=threads)
        self._load = time.perf_counter() - start
        self._probe = _share(probe)
        self._scores: list[float] = []
        self._seconds: list[float] = []

    def score(self, prompt: str, response: str | None) -> None:
        start = time.perf_counter()
        self._scores.append(self._guard.score(prompt, response))
        self._seconds.append(time.perf_counter() - start)

    def result(self, plain: _Run) -> dict[str, Any]:
        """`times_plain` is the median over the pairs."""
        times = np.median(np.array(self._seconds) / plain._seconds)
        return {
            "load_s": round(self._load, 3),
            "s_per_pair": round(float(np.mean(self._seconds)), 5),
            "times_plain": round(float(times), 3),
            "probe": self._probe,
            "scores": self._scores,
        }


def _share(model: bytes) -> float:
    session = runtime.ort.InferenceSession(
        model, runtime._options(1), providers=["CPUExecutionProvider"]
    )
    rows, width = 4, session.get_inputs()[0].shape[1]
    sums = session.run(None, {"x": np.full((rows, width), 255, np.uint8)})[0]
    return float(sums.min() / (255 * 127 * width))
