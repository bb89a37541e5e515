"""The commands that the README names, run as a user does."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def env_module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("_env", ROOT / "scripts" / "_env.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(*arguments: str | Path, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    command = [str(argument) for argument in arguments]
    environment = {**os.environ, **env}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


@pytest.mark.packages
@pytest.mark.parametrize(
    "texts",
    [
        ["How do I bake bread?"],
        ["How do I bake bread?", "Mix flour, water, salt and yeast."],
        ["--version"],
        ["-5 degrees: is that cold?", ""],
    ],
)
def test_score_prints_one_line_from_anywhere(texts: list[str], tmp_path: Path) -> None:
    """A folder named as our package, where the user stands, must not be imported."""
    (tmp_path / "harmguard").mkdir()
    done = run(ROOT / "scripts" / "score", *texts, cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"[01]\.\d{4}\n", done.stdout)


@pytest.mark.parametrize("texts", [[], ["--help"], ["a", "b", "c"]])
def test_score_says_how_it_is_used(texts: list[str], tmp_path: Path) -> None:
    done = run(ROOT / "scripts" / "score", *texts, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "usage: ./scripts/score PROMPT [RESPONSE]\n"


def test_without_python_the_message_names_the_version(tmp_path: Path) -> None:
    for tool in ("bash", "dirname"):
        found = shutil.which(tool)
        assert found is not None
        (tmp_path / tool).symlink_to(found)
    done = run(ROOT / "scripts" / "score", "Hello", cwd=tmp_path, PATH=str(tmp_path))
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith(
        "harmguard: needs Python 3.11 or newer; found on PATH: no python3"
    )


@pytest.mark.packages
def test_a_killed_installation_is_redone(tmp_path: Path) -> None:
    for name in ("harmguard", "export", "scripts"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for name in ("pyproject.toml", "constraints.txt", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path / name)
    command = [str(tmp_path / "scripts" / "_env"), "base"]
    folder = tmp_path / ".venvs" / "base"
    with subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL) as process:
        while not (folder / "bin").is_dir():
            assert process.poll() is None, "it ended before it made the environment"
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
    assert not (folder / "made-from").exists()
    done = run(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    version = run(folder / "bin" / "harmguard", "--version", cwd=tmp_path)
    assert version.stdout.startswith("harmguard ")
    assert run(*command, cwd=tmp_path).stderr == "", "made once"


def test_pins_for_transformers_5_replace_their_namesakes(env_module: ModuleType) -> None:
    text = "# why\nnumpy==2\nhuggingface_hub==0.36\n# transformers5: huggingface-hub==2\n"
    assert env_module.pins(text, False) == ["numpy==2", "huggingface_hub==0.36"]
    assert env_module.pins(text, True) == ["numpy==2", "huggingface-hub==2"]


def test_constraints_pin_each_project_once(env_module: ModuleType) -> None:
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    for transformers5, version in ((False, "4.57."), (True, "5.")):
        pins = env_module.pins(text, transformers5)
        names = [env_module.name_of(pin) for pin in pins]
        assert len(names) == len(set(names))
        assert [pin for pin in pins if pin.startswith(f"transformers=={version}")]


def test_stamp_follows_what_the_environment_holds(env_module: ModuleType) -> None:
    stamps = {name: env_module.stamp_of(name) for name in env_module.ENVIRONMENTS}
    assert len(set(stamps.values())) == len(stamps)
    assert stamps == {name: env_module.stamp_of(name) for name in env_module.ENVIRONMENTS}
