"""What the machine and the bundle are, in facts; None for what the system does not tell."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from harmguard import __version__
from harmguard.bench.results import Artefact, Machine
from harmguard.bundle import Bundle
from harmguard.core.cores import allowed_cores

FEATURES = (
    *("avx", "avx2", "fma", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8"),
    *("asimd", "asimddp", "i8mm", "bf16", "sve", "sve2"),
)
"""CPU features that decide which matrix kernels run (x86, then ARM)."""

# The same features by the name that macOS's sysctl has for them.
_SYSCTL = {
    "hw.optional.avx2_0": "avx2",
    "hw.optional.avx512f": "avx512f",
    "hw.optional.fma": "fma",
    "hw.optional.AdvSIMD": "asimd",
    "hw.optional.arm.FEAT_DotProd": "asimddp",
    "hw.optional.arm.FEAT_I8MM": "i8mm",
    "hw.optional.arm.FEAT_BF16": "bf16",
}
PACKAGES = (
    *("numpy", "tokenizers", "onnxruntime"),
    *("torch", "transformers", "optimum", "optimum-onnx"),
)


def describe() -> Machine:
    """CPU, cores allowed, memory, system and package versions."""
    model, features, asked = _cpu()
    return {
        "cpu": model,
        "features": features,
        "features_asked": asked,
        "cores": os.cpu_count(),
        "cores_allowed": round(allowed_cores(), 2),
        "memory_mb": _memory_mb(),
        "memory_limit_mb": limit_mb(
            _read("/sys/fs/cgroup/memory.max")
            or _read("/sys/fs/cgroup/memory/memory.limit_in_bytes")
        ),
        "os": platform.platform(),
        "python": platform.python_version(),
        "packages": {"harmguard": __version__, **{name: version(name) for name in PACKAGES}},
        "load_average": load_average(),
    }


def load_average() -> float | None:
    """The load of the last minute; None where the system does not tell it."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):
        return None


def artefact(bundle: Bundle) -> Artefact:
    """Name, version, status, recipe, bytes and hashes of a bundle."""
    manifest = bundle.manifest
    own = (bundle.folder / "guard.json").read_bytes()
    return {
        "name": manifest.name,
        "version": manifest.version,
        "status": manifest.status,
        "recipe": manifest.precision.recipe,
        "bytes": len(own) + sum(entry.size for entry in manifest.files.values()),
        "sha256": {
            "guard.json": hashlib.sha256(own).hexdigest(),
            "model.onnx": manifest.files["model.onnx"].sha256,
        },
    }


def cpu(cpuinfo: str | None) -> tuple[str | None, list[str] | None]:
    """Model and known features from the text of /proc/cpuinfo (x86 and ARM field names)."""
    if not cpuinfo:
        return None, None
    fields = dict(re.findall(r"^([^\n:]+?)\s*:[ \t]*(.*)$", cpuinfo, re.MULTILINE))
    flags = (fields.get("flags") or fields.get("Features") or "").split()
    return fields.get("model name") or None, [name for name in FEATURES if name in flags]


def sysctl(text: str) -> dict[str, str]:
    """Names and values from the output of macOS's `sysctl`."""
    return dict(re.findall(r"^([\w.]+): (.*)$", text, re.MULTILINE))


def memory_mb(meminfo: str | None) -> int | None:
    """Installed memory from the text of /proc/meminfo."""
    found = re.search(r"^MemTotal:\s+(\d+) kB", meminfo or "", re.MULTILINE)
    return int(found[1]) // 1024 if found else None


def limit_mb(text: str | None) -> int | None:
    """The container's memory limit from the text of its control group, None without one."""
    digits = (text or "max").strip()
    # Version 1 of control groups says "none" as the largest multiple of a page.
    return None if digits == "max" or int(digits) >= 1 << 60 else int(digits) >> 20


def version(package: str) -> str | None:
    """The installed version of a package, None if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cpu() -> tuple[str | None, list[str] | None, list[str] | None]:
    """Model, features, and which of FEATURES this system could be asked for; None is unknown."""
    if sys.platform == "darwin":
        found = _sysctl("machdep.cpu.brand_string", *_SYSCTL)
        features = [name for key, name in _SYSCTL.items() if found.get(key) == "1"]
        asked = [name for key, name in _SYSCTL.items() if key in found]
        return found.get("machdep.cpu.brand_string"), features if asked else None, asked or None
    model, told = cpu(_read("/proc/cpuinfo"))
    asked = None if told is None else list(FEATURES)
    return model or platform.processor() or None, told, asked


def _memory_mb() -> int | None:
    if sys.platform == "darwin":
        digits = _sysctl("hw.memsize").get("hw.memsize")
        return int(digits) >> 20 if digits else None
    return memory_mb(_read("/proc/meminfo"))


def _sysctl(*names: str) -> dict[str, str]:
    # Unknown names are named on stderr, and the rest is printed all the same.
    command = ["/usr/sbin/sysctl", *names]
    try:
        return sysctl(subprocess.run(command, capture_output=True, text=True, check=False).stdout)
    except OSError:
        return {}


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError:
        return None
