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
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FIVE = "# transformers5: "  # in constraints.txt: the pin that stands in for one of the same name

# name -> extras, pinned?, transformers 5?
ENVIRONMENTS = {
    "base": ("", False, False),
    "bench": ("[bench,export]", True, False),
    "test": ("[train,export,coreml,bench,scale,dev]", True, False),
    "test5": ("[train,dev]", True, True),
}


def name_of(pin: str) -> str:
    """Return the project that a line of a constraints file pins."""
    return pin.partition("==")[0].strip().lower().replace("_", "-")


def pins(text: str, transformers5: bool) -> list[str]:
    """Return the pins of constraints.txt, those for transformers 5 in place of their namesakes."""
    lines = text.splitlines()
    plain = [line for line in lines if line.strip() and not line.startswith("#")]
    if not transformers5:
        return plain
    newer = [line.removeprefix(FIVE) for line in lines if line.startswith(FIVE)]
    names = {name_of(pin) for pin in newer}
    return [pin for pin in plain if name_of(pin) not in names] + newer


def pins_of(name: str) -> list[str]:
    """Return the pins that the environment is made with; none for the base one."""
    _, pinned, transformers5 = ENVIRONMENTS[name]
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    return pins(text, transformers5) if pinned else []


def stamp_of(name: str) -> str:
    """Return a digest of everything that decides what the environment holds."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    tables = [project["build-system"], project["project"], project["tool"]["hatch"]]
    parts = (sys.version, sys.base_prefix, str(ROOT), ENVIRONMENTS[name], pins_of(name), tables)
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def install(name: str, folder: Path) -> None:
    """Fill a new environment: torch alone first, so that nothing else chooses its build."""
    extras, pinned, _ = ENVIRONMENTS[name]
    venv.create(folder, with_pip=True)
    drop = ("PYTHONPATH", "PYTHONHOME", "PIP_USER", "PIP_TARGET", "PIP_REQUIRE_VIRTUALENV")
    env = {key: value for key, value in os.environ.items() if key not in drop}
    options = ["-qq", "--no-input", "--disable-pip-version-check"]
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", *options]
    targets = [["--editable", f"{ROOT}{extras}"]]
    if pinned:
        constraints = folder / "constraints.txt"
        constraints.write_text("\n".join([*pins_of(name), ""]), encoding="utf-8")
        pip += ["--constraint", str(constraints)]
        targets.insert(0, ["torch"])
    for target in targets:
        subprocess.run([*pip, *target], check=True, env=env, stdin=subprocess.DEVNULL, stdout=2)


def make(name: str) -> None:
    """Make the environment unless its stamp is up to date; one process at a time."""
    folder = ROOT / ".venvs" / name
    stamp = folder / "made-from"
    wanted = stamp_of(name)
    if stamp.exists() and stamp.read_text() == wanted:
        return
    folder.parent.mkdir(exist_ok=True)
    with (folder.parent / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.exists() and stamp.read_text() == wanted:
            return
        print(f"harmguard: making .venvs/{name} (once) ...", file=sys.stderr, flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        install(name, folder)
        written = folder / "made-from.tmp"
        written.write_text(wanted)
        written.replace(stamp)


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
