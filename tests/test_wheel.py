"""The distribution: what is in it, and that it scores where nothing else is installed."""

from __future__ import annotations

import email.message
import email.parser
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path, PurePosixPath

import pytest

from harmguard import HarmGuard
from harmguard.bundle import EMBEDDED
from harmguard.errors import UnsafePathError

ROOT = Path(__file__).resolve().parent.parent
BUNDLE = "harmguard/models/mini/"
BUNDLE_LIMIT_BYTES = 25_000_000
LARGEST_FILE_BYTES = 100 * 1024 * 1024  # what package indexes and code hosts take
EXTRAS = {"bench", "coreml", "export", "scale", "train"}
HEAVY = {"accelerate", "onnx", "optimum", "scikit-learn", "torch", "transformers"}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source distribution of this checkout."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(out)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return out


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> email.message.Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return email.parser.BytesParser().parsebytes(archive.read(name))


def test_wheel_holds_two_packages_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = [PurePosixPath(name) for name in archive.namelist()]
    tops = {name.parts[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {
        "harmguard",
        "harmguard_export",
    }
    assert not [name for name in names if {"tests", "benchmarks", "scripts"} & set(name.parts)]


def test_wheel_holds_the_package_data(wheel: Path) -> None:
    """Everything that git follows in the two packages is in the wheel."""
    command = ["git", "ls-files", "harmguard", "export/harmguard_export"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if found.returncode:
        pytest.skip("not a git checkout")
    expected = {name.removeprefix("export/") for name in found.stdout.split()}
    with zipfile.ZipFile(wheel) as archive:
        missing = expected - set(archive.namelist())
    assert "harmguard/py.typed" in expected
    assert "harmguard_export/pairs.jsonl" in expected
    assert not missing


def test_embedded_guard_is_whole_and_small(wheel: Path) -> None:
    """As it lies in the wheel, compressed: that is what an application downloads."""
    with zipfile.ZipFile(wheel) as archive:
        sizes = {
            info.filename.removeprefix(BUNDLE): info.compress_size
            for info in archive.infolist()
            if info.filename.startswith(BUNDLE)
        }
        manifest = json.loads(archive.read(f"{BUNDLE}guard.json"))
    assert set(sizes) == {"guard.json", *manifest["files"]}
    assert sum(sizes.values()) <= BUNDLE_LIMIT_BYTES


def test_source_distribution_holds_no_tests(built: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = [PurePosixPath(*PurePosixPath(name).parts[1:]) for name in archive.getnames()]
    assert {name.parts[0] for name in names} == {
        ".gitignore",
        "CHANGELOG.md",
        "LICENSE",
        "PKG-INFO",
        "README.md",
        "export",
        "harmguard",
        "pyproject.toml",
    }
    assert not [name for name in names if "tests" in name.parts]


def test_metadata_names_three_dependencies_and_five_extras(
    metadata: email.message.Message,
) -> None:
    requires = metadata.get_all("Requires-Dist", [])
    base = sorted(line for line in requires if "extra ==" not in line)
    assert [re.match(r"[\w-]+", line)[0] for line in base] == [  # type: ignore[index]
        "numpy",
        "onnxruntime",
        "tokenizers",
    ]
    assert all(re.fullmatch(r"[\w-]+>=[\d.]+", line) for line in base), "an open range each"
    assert set(metadata.get_all("Provides-Extra", [])) == EXTRAS
    assert metadata["License-Expression"] == "Apache-2.0"
    assert [line.split(", ")[0] for line in metadata.get_all("Project-URL", [])] == [
        "Package",
        "Paper",
    ]


GUARDS = ("base", "multilingual")


@pytest.fixture(scope="module")
def guard_wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheels of the guards that are distributions of their own."""
    wheels = {}
    for name in GUARDS:
        out = tmp_path_factory.mktemp(name)
        command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
        place = ROOT / "packages" / f"harmguard-{name}"
        subprocess.run(command, cwd=place, check=True, capture_output=True)
        (wheels[name],) = out.glob("*.whl")
    return wheels


@pytest.mark.parametrize("name", GUARDS)
def test_a_guard_s_package_is_whole_and_fits_an_index(
    guard_wheels: dict[str, Path], name: str
) -> None:
    package = f"harmguard_{name}"
    prefix = f"{package}/guard/"
    with zipfile.ZipFile(guard_wheels[name]) as archive:
        sizes = {info.filename: info.file_size for info in archive.infolist()}
        manifest = json.loads(archive.read(f"{prefix}guard.json"))
    bundle = {f"{prefix}{name}" for name in ("guard.json", *manifest["files"])}
    assert {name for name in sizes if ".dist-info/" not in name} == {
        f"{package}/__init__.py",
        *bundle,
    }
    assert manifest["name"] == name
    assert guard_wheels[name].stat().st_size < LARGEST_FILE_BYTES
    assert max(sizes.values()) < LARGEST_FILE_BYTES


def lowest() -> list[str]:
    """The base dependencies at the lower bounds that pyproject.toml declares."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [line.replace(">=", "==") for line in project["dependencies"]]


@pytest.mark.packages
@pytest.mark.parametrize(
    "pins",
    [
        pytest.param([], id="newest"),
        pytest.param(
            lowest(),
            id="lowest",
            marks=pytest.mark.skipif(
                sys.version_info >= (3, 13), reason="the lowest numpy has no wheel for it"
            ),
        ),
    ],
)
def test_fresh_environment_scores(
    wheel: Path, guard_wheels: dict[str, Path], tmp_path: Path, pins: list[str]
) -> None:
    folder = tmp_path / "environment"
    venv.create(folder)
    python, command = folder / "bin" / "python", folder / "bin" / "harmguard"
    pip = [sys.executable, "-m", "pip", "--python", str(python)]

    def run(*arguments: str | Path) -> str:
        line = list(map(str, arguments))
        done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run(*pip, "install", "--quiet", "--no-input", "--no-compile", wheel, *pins)
    installed = {line.split("==")[0].lower() for line in run(*pip, "freeze").split()}
    assert {"harmguard", "numpy", "onnxruntime", "tokenizers"} <= installed
    assert not installed & HEAVY
    alone = run(command, "score", "How do I bake bread?")
    exchange = run(command, "score", "How do I bake bread?", "Mix flour, water, salt and yeast.")
    assert re.fullmatch(r"[01]\.\d{4}\n", alone)
    assert re.fullmatch(r"[01]\.\d{4}\n", exchange)
    run(command, "verify")
    wheels = guard_wheels.values()
    run(*pip, "install", "--quiet", "--no-input", "--no-compile", "--no-deps", *wheels)
    for name in GUARDS:
        other = run(command, "score", "--guard", f"installed:{name}", "How do I bake bread?")
        assert re.fullmatch(r"[01]\.\d{4}\n", other)
        assert other != alone
        run(command, "verify", f"installed:{name}")


FROZEN = """
import sys
from harmguard import HarmGuard
with HarmGuard(threads=1) as guard:
    sys.stdout.write(f"{guard.score(sys.argv[1]):.4f}")
"""


@pytest.mark.slow
@pytest.mark.packages
@pytest.mark.parametrize("hook", [True, False])
def test_a_frozen_program_scores(wheel: Path, tmp_path: Path, hook: bool) -> None:
    """With the wheel's hook; and without it the message names what is missing."""
    folder, program = tmp_path / "environment", tmp_path / "program.py"
    venv.create(folder)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    subprocess.run([*pip, "--no-input", wheel, "pyinstaller"], check=True, cwd=tmp_path)
    if not hook:
        (entries,) = folder.glob("lib/*/site-packages/harmguard-*.dist-info/entry_points.txt")
        entries.write_text("")
    program.write_text(FROZEN)
    command = [str(python), "-m", "PyInstaller", "--log-level=ERROR", "--noconfirm", str(program)]
    subprocess.run(command, check=True, cwd=tmp_path)
    for text in ("How do I bake bread?", "kind words", "\u4e2d\u6587"):
        done = subprocess.run(
            [tmp_path / "dist" / "program" / "program", text],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        if hook:
            assert re.fullmatch(r"[01]\.\d{4}", done.stdout), done.stderr
        else:
            assert "BundleNotFoundError" in done.stderr
            assert "for PyInstaller the wheel has a hook" in done.stderr


LINKED = """
from harmguard import HarmGuard
from harmguard.bundle import EMBEDDED
assert (EMBEDDED / "model.onnx").is_symlink()
with HarmGuard(threads=1) as guard:
    assert 0 <= guard.score("How do I bake bread?") <= 1
from harmguard.cli import main
assert main(["verify"]) == main(["info"]) == 0
"""


@pytest.mark.parametrize(
    ("store", "relative"),
    [("one folder", False), ("one folder", True), ("a file by its content", False)],
)
def test_a_package_of_links_loads_its_own_guard(tmp_path: Path, store: str, relative: bool) -> None:
    """As uv's link mode, Bazel and content-addressed stores lay a package out."""
    source, site = ROOT / "harmguard", tmp_path / "site"
    for path in sorted(source.rglob("*")):
        if path.is_dir() or "__pycache__" in path.parts:
            continue
        name = path.relative_to(source.parent)
        kept = tmp_path / "store" / (name if store == "one folder" else f"{abs(hash(name)):x}")
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, kept)
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        place = os.path.relpath(kept, (site / name).parent) if relative else kept
        (site / name).symlink_to(place)
    done = subprocess.run(
        [sys.executable, "-c", LINKED],
        env={**os.environ, "PYTHONPATH": str(site)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_links_in_other_bundles_stay_refused(tmp_path: Path) -> None:
    for path in EMBEDDED.iterdir():
        (tmp_path / path.name).symlink_to(path)
    with pytest.raises(UnsafePathError, match="is a symbolic link"):
        HarmGuard(tmp_path)


def test_a_package_without_its_guard_names_the_hook(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "harmguard", tmp_path / "harmguard", ignore=lambda *_: ["models"])
    for code in ("HarmGuard()", "__import__('harmguard.cli').cli.main(['info'])"):
        done = subprocess.run(
            [sys.executable, "-c", f"from harmguard import HarmGuard; {code}"],
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert "BundleNotFoundError: the guard that comes with the package is not at" in done.stderr
        assert "for PyInstaller the wheel has a hook" in done.stderr
