"""How many cores this process may use: CPU affinity, and the quotas of its control groups.

It is advice: whatever the system does not tell, or tells in an unknown form, counts as no limit.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

MAX_THREADS = 4
"""More threads than this gain little on texts of a guard's length."""


def default_threads(proc: Path = Path("/proc/self")) -> int:
    """Cores that affinity and control-group quotas allow, from 1 to MAX_THREADS.

    A quota of a part of a core is rounded down: a thread that waits for its quota holds up
    all the others. `proc` is the process's folder in procfs.
    """
    return max(1, min(int(allowed_cores(proc)), MAX_THREADS))


def allowed_cores(proc: Path = Path("/proc/self")) -> float:
    """Cores that affinity and control-group quotas allow; a quota may be a part of a core."""
    try:
        cores = len(os.sched_getaffinity(0))
    except (AttributeError, OSError):  # not Linux, or a sandbox that forbids to ask
        cores = os.cpu_count() or 1
    try:
        quotas = list(_quotas(proc))
    except (LookupError, ValueError, OSError):  # a form that no known kernel writes
        quotas = []
    return min([float(max(cores, 1)), *quotas])


def _quotas(proc: Path) -> Iterator[float]:
    """Every CPU quota, in cores, on the process's control group and its visible ancestors."""
    try:
        groups, mounts = _lines(proc / "cgroup"), _lines(proc / "mountinfo")
    except OSError:  # not Linux, or procfs is hidden
        return
    paths: dict[str, str] = {}
    for line in groups:
        if line.count(":") >= 2:
            _, controllers, path = line.split(":", 2)
            paths.update(dict.fromkeys(controllers.split(","), path))
    for line in mounts:
        mount, _, rest = line.partition(" - ")
        # Options may be empty, and a device's name may hold anything.
        kind, _, options = (*rest.split(" ", 2), "", "")[:3]
        root, point = (_unescaped(part) for part in (*mount.split(" "), *[""] * 5)[3:5])
        if kind == "cgroup2" and "" in paths:
            folders = _ancestors(Path(point), root, paths[""])
            yield from filter(None, (_quota_v2(folder) for folder in folders))
        elif kind == "cgroup" and "cpu" in options.split(",") and "cpu" in paths:
            folders = _ancestors(Path(point), root, paths["cpu"])
            yield from filter(None, (_quota_v1(folder) for folder in folders))


def _lines(path: Path) -> list[str]:
    """Lines of a file of procfs; names in it are bytes in no particular encoding."""
    # Not splitlines(), which also splits at characters that a name may hold.
    return os.fsdecode(path.read_bytes()).split("\n")


def _unescaped(text: str) -> str:
    """A path of mountinfo: spaces, tabs, newlines and backslashes are written in octal."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)


def _ancestors(point: Path, root: str, path: str) -> list[Path]:
    """Folders of a group and its ancestors below a mount; the mount's own for a foreign path."""
    group = PurePosixPath(path)
    # In a container without its own namespace the path is the host's, and the mount's root too.
    inner = group.relative_to(root) if group.is_relative_to(root) else PurePosixPath()
    return [point / part for part in (inner, *inner.parents)]


def _quota_v2(folder: Path) -> float | None:
    try:
        quota, period = (folder / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _quota_v1(folder: Path) -> float | None:
    try:
        quota = int((folder / "cpu.cfs_quota_us").read_text())
        period = int((folder / "cpu.cfs_period_us").read_text())
        return quota / period if quota > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None
