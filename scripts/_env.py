"""Make one of the checkout's virtual environments under .venvs/, once; the scripts here call it.

An environment counts as made when its stamp, written last, says what it would be made from today;
a killed installation leaves no stamp and is redone. Everything that pip says goes to stderr.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tomllib
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Environment:
    """What an environment holds: the project with `extras` and the `groups` of its pyproject.toml.

    Or what differs from the one `below`.

    `constraints` is the file of exact versions; on top of another environment all of them, and
    nothing else, are installed. The packages `hidden` cannot be imported from the one below.
    `compiled` is whether all of it is compiled at once, of which the tests import a sixth.
    """

    extras: str = ""
    groups: tuple[str, ...] = ()
    constraints: str | None = None
    below: str | None = None
    hidden: tuple[str, ...] = ()
    compiled: bool = True


ENVIRONMENTS = {
    "base": Environment(),
    "bench": Environment("[bench,export]", ("benchmarks",), "constraints.txt"),
    "test": Environment(
        "[train,export,coreml,bench,scale]",
        ("benchmarks", "dev"),
        "constraints.txt",
        compiled=False,
    ),
    # optimum-onnx takes no transformers 5.
    "test5": Environment(
        constraints="constraints-transformers5.txt",
        below="test",
        hidden=("optimum",),
        compiled=False,
    ),
    # As android_demo has it on the JVM.
    "android": Environment(constraints="constraints-android.txt", below="test", compiled=False),
}


def pins(text: str) -> dict[str, str]:
    """Return the lines of a constraints file that pin something, by the project's name."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return {line.partition("==")[0].strip().lower().replace("_", "-"): line for line in lines}


def pins_of(name: str) -> dict[str, str]:
    """Return the pins that the environment is made with; none for the base one."""
    file = ENVIRONMENTS[name].constraints
    return {} if file is None else pins((ROOT / file).read_text(encoding="utf-8"))


def read_project() -> dict[str, Any]:
    """Return pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def stamp_of(name: str) -> str:
    """Return a digest of everything that decides what the environment holds."""
    environment = ENVIRONMENTS[name]
    project = read_project()
    names = ("build-system", "project", "dependency-groups")
    tables = [*(project[table] for table in names), project["tool"]["hatch"]]
    parts = [sys.version, sys.base_prefix, str(ROOT), environment, sorted(pins_of(name).values())]
    if environment.below is None:
        parts.append(tables)
    else:
        # When the one below was made, too: it may be made again from the same pins.
        parts += [stamp_of(environment.below), made_at(environment.below)]
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def stamp_file(name: str) -> Path:
    """Return the path of the environment's stamp."""
    return ROOT / ".venvs" / name / "made-from"


def made_at(name: str) -> int | None:
    """Return when the environment's stamp was written, in ns; None without one."""
    file = stamp_file(name)
    return file.stat().st_mtime_ns if file.exists() else None


def is_made(name: str) -> bool:
    """Tell whether the environment is there and up to date."""
    file = stamp_file(name)
    return file.exists() and file.read_text() == stamp_of(name)


def pip(python: Path, *arguments: str | Path) -> None:
    """Run `python -m pip` with the user's configuration, but not their places for packages."""
    drop = ("PYTHONPATH", "PYTHONHOME", "PIP_USER", "PIP_TARGET", "PIP_REQUIRE_VIRTUALENV")
    env = {key: value for key, value in os.environ.items() if key not in drop}
    options = ["-qq", "--no-input", "--disable-pip-version-check"]
    command = [str(part) for part in (python, "-m", "pip", *options, *arguments)]
    subprocess.run(command, check=True, env=env, stdin=subprocess.DEVNULL, stdout=2)


def install(name: str) -> None:
    """Fill a new environment."""
    environment, folder = ENVIRONMENTS[name], ROOT / ".venvs" / name
    python = folder / "bin" / "python"
    what = ("install", "--compile" if environment.compiled else "--no-compile")
    if environment.below is not None:
        below = ROOT / ".venvs" / environment.below
        venv.create(folder)
        pins = ("--no-deps", "--requirement", ROOT / str(environment.constraints))
        pip(below / "bin" / "python", "--python", python, *what, *pins)
        lay(folder, below, environment.hidden)
        return
    venv.create(folder, with_pip=True)
    listed = read_project()["dependency-groups"]
    groups = [line for group in environment.groups for line in listed[group]]
    project = ("--editable", f"{ROOT}{environment.extras}", *groups)
    if environment.constraints is None:
        pip(python, *what, *project)
        return
    # torch alone first, so that nothing else chooses its build.
    for target in (("torch",), project):
        pip(python, *what, "--constraint", ROOT / environment.constraints, *target)


def packages(folder: Path) -> Path:
    """Return an environment's site-packages."""
    return folder / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"


def lay(folder: Path, below: Path, hidden: tuple[str, ...]) -> None:
    """Let an environment find after its own packages those of the one below, without `hidden`."""
    lines = [f"import site; site.addsitedir({str(packages(below))!r})"]
    lines += [f"import sys; sys.modules[{name!r}] = None" for name in hidden]
    (packages(folder) / "below.pth").write_text("\n".join([*lines, ""]), encoding="utf-8")


def make(name: str) -> None:
    """Make the environment and the one below it unless they are there; one process at a time."""
    below, folder = ENVIRONMENTS[name].below, ROOT / ".venvs" / name
    if below is not None:
        make(below)
    if is_made(name):
        return
    folder.parent.mkdir(exist_ok=True)
    with (folder.parent / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if is_made(name):
            return
        print(f"harmguard: making .venvs/{name} (once) ...", file=sys.stderr, flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        install(name)
        written = folder / "made-from.tmp"
        written.write_text(stamp_of(name))
        written.replace(stamp_file(name))


def main() -> int:
    """Make the environment named on the command line."""
    name = sys.argv[1]
    try:
        make(name)
    except subprocess.CalledProcessError as error:
        what = "python -m venv" if "ensurepip" in map(str, error.cmd) else "pip install"
        print(
            f"harmguard: .venvs/{name} could not be made: {what} failed (see above; no network, "
            "or on Debian no python3-venv package?). Run the command again to start over.",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
