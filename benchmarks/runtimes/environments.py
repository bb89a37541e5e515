"""The virtual environment of each peer, made once in the cache; a failure is a reason, no end."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import time
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from benchmarks.harness.errors import EnvironmentMissingError
from benchmarks.harness.results import ROOT, read_json, say, write_json, write_text
from harmguard.bench.machine import load_average

_TORCH = "torch==2.13.0"
_TRANSFORMERS = "transformers==4.57.6"

REQUIREMENTS: dict[str, list[str]] = {
    "harmguard": [str(ROOT), "onnxruntime==1.32.0"],
    "torch": [_TORCH, _TRANSFORMERS],
    "optimum": [_TORCH, _TRANSFORMERS, "optimum-onnx==0.1.0", "onnxruntime==1.32.0"],
    "openvino": [_TORCH, _TRANSFORMERS, "openvino==2026.4.1", "nncf==3.4.0"],
    "executorch": [_TORCH, _TRANSFORMERS, "executorch==1.5.1"],
    "litert": [_TORCH, _TRANSFORMERS, "litert-torch==0.10.0", "ai-edge-litert==2.3.0"],
    "llama": ["llama-cpp-python==0.3.36", "gguf==0.19.0"],
}
"""What a user installs for a peer, its converter included, in the versions that were measured."""

_DROPPED = ("PYTHONPATH", "PYTHONHOME", "PIP_USER", "PIP_TARGET", "PIP_REQUIRE_VIRTUALENV")


class Cost(TypedDict):
    """What making something took, and the load average then."""

    seconds: float
    load_average: float | None


@dataclass(frozen=True)
class Environment:
    """An environment that is ready: its interpreter, its packages' size, and what it cost."""

    python: str
    installed_mb: float
    made: Cost


def make(name: str, folder: Path) -> Environment:
    """The environment of `name` under `folder`, made unless it is there.

    Raises EnvironmentMissingError if venv fails, or with pip's last word if a package cannot be
    installed; all that pip said is in NAME.log then.
    """
    home = folder / name
    python = home / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    stamp, cost, wanted = home / "made-from.txt", home / "cost.json", made_from(name)
    if not (stamp.exists() and stamp.read_text(encoding="utf-8") == wanted):
        say(f"making the environment {name} (once) ...")
        before = time.monotonic()
        shutil.rmtree(home, ignore_errors=True)
        try:
            venv.create(home, with_pip=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise EnvironmentMissingError(
                f"{name}: no virtual environment could be made in {home} "
                f"({type(error).__name__}); expected the module venv with ensurepip and room on "
                "the disk; likely a Python whose distribution packs venv apart"
            ) from error
        _install(name, python, folder / f"{name}.log")
        write_json(cost, {"made": cost_since(before), "installed_mb": installed_mb(home)})
        write_text(stamp, wanted)
    kept = read_json(cost)
    return Environment(str(python), kept["installed_mb"], kept["made"])


def cost_since(before: float) -> Cost:
    """The cost of what began at `before`, in seconds of `time.monotonic`."""
    return {"seconds": round(time.monotonic() - before, 1), "load_average": load_average()}


def _install(name: str, python: Path, log: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key not in _DROPPED}
    pip = [str(python), "-m", "pip", "install", "--quiet", "--no-input"]
    # The first alone: torch, so that nothing else chooses its build.
    for part in (REQUIREMENTS[name][:1], REQUIREMENTS[name]):
        done = subprocess.run(
            [*pip, *part], env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            write_text(log, done.stderr)
            raise EnvironmentMissingError(f"{reason(name, done.stderr)} (all of it: {log.name})")


def made_from(name: str) -> str:
    """What an environment is made of, the same in every clone: the clone's own code runs in it."""
    parts = [part.replace(str(ROOT), "harmguard, this checkout") for part in REQUIREMENTS[name]]
    return "\n".join([f"Python {platform.python_version()}", *parts]) + "\n"


def reason(name: str, stderr: str) -> str:
    """Why pip failed: its last line that begins with ERROR, or its last line."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")]
    return f"{name}: pip could not install it: {([*lines, *errors] or ['no message'])[-1]}"


def installed_mb(home: Path) -> float:
    """Size of the packages in an environment, pip not counted, in MB of 10^6 bytes."""
    total = 0
    for site in home.glob("**/site-packages"):
        for path in site.rglob("*"):
            own = path.relative_to(site).parts[0]
            if not own.startswith("pip") and path.is_file() and not path.is_symlink():
                total += path.stat().st_size
    return round(total / 1e6, 1)
