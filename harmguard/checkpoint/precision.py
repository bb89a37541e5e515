"""Which number type this machine computes in: bfloat16 is slower than float32 on some."""

from __future__ import annotations

from pathlib import Path

import torch

_CPUINFO = Path("/proc/cpuinfo")


def has_bf16() -> bool:
    """Whether this machine multiplies in bfloat16 faster than in float32.

    By what the processor is and not by a clock, so that a run that is resumed computes as before.
    Intel's AVX-512 has the instructions at half the speed of float32's, unless AMX is there too.
    """
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    if _supported("_is_amx_tile_supported"):
        return True
    return _supported("_is_avx512_bf16_supported") and not _is_intel()


def _supported(name: str) -> bool:
    found = getattr(torch.cpu, name, None)
    return bool(found and found())


def _is_intel() -> bool:
    try:
        return "GenuineIntel" in _CPUINFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
