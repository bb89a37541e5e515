"""The commands that the README names, run as a user does."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import venv
from pathlib import Path

import pytest

from scripts import _env
from tests import conftest

ROOT = Path(__file__).resolve().parent.parent


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


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what environments are made from, without any."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("harmguard", "export", "scripts"):
        shutil.copytree(ROOT / name, folder / name)
    for name in ("pyproject.toml", "constraints.txt", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.mark.packages
def test_a_killed_installation_is_redone(checkout: Path) -> None:
    command = [str(checkout / "scripts" / "_env"), "base"]
    folder = checkout / ".venvs" / "base"
    with subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL) as process:
        while not (folder / "bin").is_dir():
            assert process.poll() is None, "it ended before it made the environment"
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
    assert not (folder / "made-from").exists()
    done = run(*command, cwd=checkout)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    version = run(folder / "bin" / "harmguard", "--version", cwd=checkout)
    assert version.stdout.startswith("harmguard ")
    assert run(*command, cwd=checkout).stderr == "", "made once"


LAYERED = """
import _env
_env.ENVIRONMENTS["over"] = _env.Environment(constraints="over.txt", below="base")
_env.make("over")
"""
WHERE = """
import iniconfig, numpy, pathlib, sys
for module in (iniconfig, numpy):
    print(pathlib.Path(module.__file__).is_relative_to(sys.prefix))
"""


@pytest.mark.packages
def test_an_environment_on_top_of_another_holds_only_what_differs(checkout: Path) -> None:
    (checkout / "over.txt").write_text("# why\niniconfig==2.3.1\n")
    make, folder = [sys.executable, "-c", LAYERED], checkout / ".venvs" / "over"
    done = run(*make, cwd=checkout, PYTHONPATH=str(checkout / "scripts"))
    assert done.returncode == 0, done.stderr
    assert "making .venvs/over" in done.stderr
    assert run(folder / "bin" / "python", "-c", WHERE, cwd=checkout).stdout == "True\nFalse\n"
    installed = {path.name for path in _env.packages(folder).glob("*.dist-info")}
    assert installed == {"iniconfig-2.3.1.dist-info"}
    assert run(*make, cwd=checkout, PYTHONPATH=str(checkout / "scripts")).stderr == "", "made once"


FOUND = """
import importlib.metadata, importlib.util, one, two
print(one.VALUE, two.VALUE, importlib.metadata.version("one"))
print(*(importlib.util.find_spec(name) for name in ("three", "four")))
"""


def put(folder: Path, name: str, version: str) -> None:
    """Install a module that knows its version."""
    packages = _env.packages(folder)
    (packages / f"{name}.py").write_text(f"VALUE = {version!r}\n")
    metadata = packages / f"{name}-{version}.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def test_own_packages_come_first_and_hidden_ones_are_not_there(tmp_path: Path) -> None:
    below, over, elsewhere = (tmp_path / name for name in ("below", "over", "elsewhere"))
    for folder in (below, over):
        venv.create(folder)
    put(below, "one", "4.9")
    put(below, "three", "1")
    put(over, "one", "5.0")
    # As an editable installation does.
    elsewhere.mkdir()
    (elsewhere / "two.py").write_text("VALUE = 'editable'\n")
    (_env.packages(below) / "editable.pth").write_text(f"{elsewhere}\n")
    _env.lay(over, below, ("three",))
    done = run(over / "bin" / "python", "-c", FOUND, cwd=tmp_path)
    assert done.stdout == "5.0 editable 5.0\nNone None\n", done.stderr


def test_pins_are_lines_by_the_project_s_name() -> None:
    text = "# why\nnumpy==2\n\nhuggingface_hub==0.36\n"
    assert _env.pins(text) == {"numpy": "numpy==2", "huggingface-hub": "huggingface_hub==0.36"}


@pytest.mark.parametrize(("name", "version"), [("test", "4.57."), ("test5", "5.")])
def test_constraints_pin_each_project_once(name: str, version: str) -> None:
    file = _env.ENVIRONMENTS[name].constraints
    assert file is not None
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    pins = _env.pins_of(name)
    assert len(pins) == sum("==" in line for line in lines)
    assert pins["transformers"].startswith(f"transformers=={version}")


def test_on_top_of_another_only_what_differs_is_pinned() -> None:
    assert not set(_env.pins_of("test5").values()) & set(_env.pins_of("test").values())


def test_stamp_follows_what_the_environment_holds() -> None:
    stamps = {name: _env.stamp_of(name) for name in _env.ENVIRONMENTS}
    assert len(set(stamps.values())) == len(stamps)
    assert stamps == {name: _env.stamp_of(name) for name in _env.ENVIRONMENTS}


@pytest.fixture
def stamps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout whose environments are all made, as far as their stamps say."""
    monkeypatch.setattr(_env, "ROOT", tmp_path)
    for name in ("pyproject.toml", "constraints.txt", "constraints-transformers5.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    for name in ("base", "test", "test5"):
        file = _env.stamp_file(name)
        file.parent.mkdir(parents=True)
        file.write_text(_env.stamp_of(name))
    return tmp_path


def outdated() -> list[str]:
    return [name for name in ("base", "test", "test5") if not _env.is_made(name)]


def test_an_environment_is_remade_with_the_one_below(stamps: Path) -> None:
    assert outdated() == []
    with (stamps / "constraints.txt").open("a") as file:
        file.write("# a comment\n")
    assert outdated() == []
    with (stamps / "constraints.txt").open("a") as file:
        file.write("another==1\n")
    assert outdated() == ["test", "test5"]


def test_one_below_that_was_made_again_is_another(stamps: Path) -> None:
    file = _env.stamp_file("test")
    before = file.stat().st_mtime_ns
    os.utime(file, ns=(before, before + 1))
    assert outdated() == ["test5"]
    os.utime(file, ns=(before, before))
    assert outdated() == []
    file.unlink()
    assert outdated() == ["test", "test5"]


def test_pins_on_top_leave_the_one_below_alone(stamps: Path) -> None:
    with (stamps / "constraints-transformers5.txt").open("a") as file:
        file.write("another==1\n")
    assert outdated() == ["test5"]


def test_an_environment_without_its_stamp_is_not_made(stamps: Path) -> None:
    _env.stamp_file("test5").unlink()
    assert outdated() == ["test5"]
    (stamps / ".venvs" / "test5" / "made-from.tmp").write_text(_env.stamp_of("test5"))
    assert outdated() == ["test5"]


# How many processes share the tests


@pytest.mark.parametrize(
    ("given", "marks", "count"),
    [
        (["tests"], "not slow", 2),
        (["tests/training", "tests/test_api.py"], "not slow", 2),
        (["tests/test_api.py", "tests/test_scripts.py::test_x"], "not slow", 0),
        (["tests"], "slow", 0),
        (["tests"], "packages and slow", 0),
        (["tests"], "packages", 2),
    ],
)
def test_two_processes_for_folders_and_none_for_slow_tests(
    pytestconfig: pytest.Config,
    monkeypatch: pytest.MonkeyPatch,
    given: list[str],
    marks: str,
    count: int,
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(pytestconfig, "args", given)
    monkeypatch.setattr(pytestconfig.option, "markexpr", marks)
    assert conftest.pytest_xdist_auto_num_workers(pytestconfig) == count
