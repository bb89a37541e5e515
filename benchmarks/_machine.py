"""What the machine is, in facts; None for what the system does not tell."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

FEATURES = (
    *("avx", "avx2", "fma", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8"),
    *("asimd", "asimddp", "i8mm", "bf16", "sve", "sve2"),
)
"""CPU features that decide which matrix kernels run (x86, then ARM)."""

PACKAGES = (
    *("numpy", "tokenizers", "onnxruntime"),
    *("torch", "transformers", "optimum", "optimum-onnx"),
)


def describe() -> dict[str, Any]:
    """CPU, cores allowed, memory, system and package versions, JSON-ready."""
    model, features = cpu(_read("/proc/cpuinfo"))
    return {
        "cpu": model or _cpu_elsewhere(),
        "features": features,
        "cores": os.cpu_count(),
        "cores_allowed": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "cpu_quota": cpu_quota(_read("/sys/fs/cgroup/cpu.max")),
        "memory_mb": memory_mb(_read("/proc/meminfo")),
        "memory_limit_mb": _limit_mb(_read("/sys/fs/cgroup/memory.max")),
        "os": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def cpu(cpuinfo: str | None) -> tuple[str | None, list[str] | None]:
    """Model and known features from the text of /proc/cpuinfo (x86 and ARM field names)."""
    if not cpuinfo:
        return None, None
    fields = dict(re.findall(r"^([^\n:]+?)\s*:[ \t]*(.*)$", cpuinfo, re.MULTILINE))
    flags = (fields.get("flags") or fields.get("Features") or "").split()
    return fields.get("model name") or None, [name for name in FEATURES if name in flags]


def cpu_quota(cpu_max: str | None) -> float | None:
    """Cores that a container's quota allows ("200000 100000" is 2), None without a quota."""
    parts = (cpu_max or "max").split()
    return None if parts[0] == "max" else int(parts[0]) / int(parts[1])


def memory_mb(meminfo: str | None) -> int | None:
    """Installed memory from the text of /proc/meminfo."""
    found = re.search(r"^MemTotal:\s+(\d+) kB", meminfo or "", re.MULTILINE)
    return int(found[1]) // 1024 if found else None


def _limit_mb(memory_max: str | None) -> int | None:
    text = (memory_max or "max").strip()
    return None if text == "max" else int(text) >> 20


def _cpu_elsewhere() -> str | None:
    if platform.system() == "Darwin":
        command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        found = subprocess.run(command, capture_output=True, text=True, check=False)
        return found.stdout.strip() or None
    return platform.processor() or None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError:
        return None
