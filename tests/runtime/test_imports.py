"""The base install alone: what importing and scoring load, and that nothing opens a socket."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
FORBIDDEN = ("huggingface_hub", "onnx", "requests", "torch", "transformers")

# Before anything of ours is imported: a socket made from Python raises at once.
PROLOGUE = f"""
import sys

def forbid(event, arguments):
    if event.startswith("socket."):
        raise AssertionError(event)

sys.addaudithook(forbid)

def loaded():
    return [name for name in {FORBIDDEN} if name in sys.modules]
"""

SCORE = """
import os
from harmguard import HarmGuard
with HarmGuard() as guard:
    assert 0 <= guard.score("How do I bake bread?") <= 1
    assert len(guard.check_many([("Hello", "Hi."), ("Hello", None)])) == 2
    # Sockets that native code opened would show here, where there is such a folder.
    if os.path.isdir("/proc/self/fd"):
        for name in os.listdir("/proc/self/fd"):
            path = f"/proc/self/fd/{name}"
            if int(name) > 2 and os.path.lexists(path):
                assert not os.readlink(path).startswith("socket:"), path
"""


@pytest.fixture(scope="module")
def python() -> Path:
    """The interpreter of the checkout's base environment, with no extra installed."""
    subprocess.run([ROOT / "scripts" / "_env", "base"], check=True, capture_output=True)
    return ROOT / ".venvs" / "base" / "bin" / "python"


def run(python: Path, code: str, folder: Path) -> str:
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    command = [str(python), "-c", PROLOGUE + code]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.packages
@pytest.mark.parametrize("module", ["harmguard", "harmguard.cli", "harmguard.bundle"])
def test_import_is_light(python: Path, tmp_path: Path, module: str) -> None:
    assert run(python, f"import {module}; print(loaded())", tmp_path) == "[]"


@pytest.mark.packages
def test_scoring_is_light_and_opens_no_socket(python: Path, tmp_path: Path) -> None:
    assert run(python, SCORE + "print(loaded())", tmp_path) == "[]"


@pytest.mark.packages
def test_the_guard_against_sockets_works(python: Path, tmp_path: Path) -> None:
    code = "import socket\ntry:\n    socket.socket()\nexcept AssertionError as e:\n    print(e)"
    assert run(python, code, tmp_path) == "socket.__new__"


@pytest.mark.packages
def test_training_without_its_extra_says_what_to_type(python: Path, tmp_path: Path) -> None:
    code = "try:\n    import harmguard.training\nexcept ImportError as e:\n    print(e)"
    assert "pip install 'harmguard[train]'" in run(python, code, tmp_path)


def test_import_is_light_with_every_extra_installed(tmp_path: Path) -> None:
    assert run(Path(sys.executable), "import harmguard; print(loaded())", tmp_path) == "[]"
