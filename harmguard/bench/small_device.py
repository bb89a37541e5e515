"""Make this process a small device: one core, and a bound on the memory that it may ask for."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path


def one_core() -> bool:
    """Keep every thread of this process on one core; False where the system has no such call.

    False too where it refuses it, as a sandbox may.
    """
    if hasattr(os, "sched_setaffinity"):
        try:
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        except OSError:
            return False
        return True
    return False


def limit_memory(mb: float) -> bool:
    """Bound this process's heap and anonymous maps; False where nothing enforces such a bound.

    Linux alone counts anonymous maps for a limit (since 4.7) that needs no privilege. It counts
    what was asked for, so what the process has reserved and never touched so far comes on top.
    """
    if sys.platform != "linux":
        return False
    import resource

    text = Path("/proc/self/status").read_text(encoding="utf-8")
    held = {name: int(kb) for name, kb in re.findall(r"^(VmData|RssAnon):\s+(\d+) kB", text, re.M)}
    if len(held) < 2:
        return False
    bound = (int(mb * 1024) + max(0, held["VmData"] - held["RssAnon"])) * 1024
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard != resource.RLIM_INFINITY:
        bound = min(bound, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (bound, hard))
    return True
