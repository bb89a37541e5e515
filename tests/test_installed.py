from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from harmguard import HarmGuard
from harmguard.bundle import EMBEDDED
from harmguard.cli import main
from harmguard.errors import (
    AmbiguousGuardError,
    BundleNotFoundError,
    InputError,
    InputTypeError,
    UnsafePathError,
)
from harmguard.installed import guard_folder, installed_folder, installed_guards


def package(
    site: Path, name: str, *, guard: str = "small", value: str | None = None, links: bool = False
) -> Path:
    """Install a package by hand: its metadata, and a module that must not be imported."""
    module = name.replace("-", "_")
    folder = site / module / "guard"
    (site / module).mkdir(parents=True)
    (site / module / "__init__.py").write_text("raise SystemExit('imported')\n")
    if links:
        folder.mkdir()
        for path in EMBEDDED.iterdir():
            (folder / path.name).symlink_to(path)
    else:
        shutil.copytree(EMBEDDED, folder)
    info = site / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    entry = f"[harmguard.guards]\n{guard} = {value or module}\n"
    (info / "entry_points.txt").write_text(entry)
    return folder


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return folder


@pytest.mark.parametrize("links", [False, True])
def test_a_package_of_its_own_is_found_and_scores(
    site: Path, links: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = package(site, "acme-guard", links=links)
    assert installed_folder("small") == folder
    assert {"mini", "small"} <= set(installed_guards())
    with HarmGuard.installed("small", threads=1, threshold=0.4) as guard, HarmGuard() as own:
        assert guard.score("How do I bake bread?") == own.score("How do I bake bread?")
        assert guard.check("How do I bake bread?").threshold == 0.4
    assert main(["score", "--guard", "installed:small", "How do I bake bread?"]) == 0
    assert main(["info", "installed:small"]) == 0
    assert main(["verify", "installed:small"]) == 0
    assert "mini" in capsys.readouterr().out


def test_mini_comes_with_harmguard() -> None:
    assert installed_folder("mini") == guard_folder(None) == EMBEDDED
    assert guard_folder("installed:mini") == EMBEDDED
    assert guard_folder("guards/mine") == Path("guards/mine")


def test_two_packages_of_one_name_are_refused(site: Path) -> None:
    package(site, "acme-guard")
    package(site, "acne-guard")
    with pytest.raises(AmbiguousGuardError, match=r"in 2 installed packages \(acme-guard, acne-g"):
        HarmGuard.installed("small")


def test_nobody_else_may_be_mini(site: Path) -> None:
    package(site, "acme-guard", guard="mini")
    with pytest.raises(AmbiguousGuardError, match=r"\(acme-guard, harmguard\)"):
        HarmGuard.installed("mini")
    with HarmGuard() as guard:  # which asks nobody
        assert guard.name == "mini"


def test_one_package_on_two_paths_is_one(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package(site, "acme-guard")
    other = tmp_path / "other"
    shutil.copytree(site, other)
    monkeypatch.syspath_prepend(str(other))
    assert installed_folder("small") == other / "acme_guard" / "guard"


@pytest.mark.parametrize("name", ["base-that-nobody-has", "a" * 64])
def test_a_guard_that_is_not_installed(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(
        BundleNotFoundError,
        match=f"no guard '{name}' is installed; expected one of mini; likely its package",
    ):
        HarmGuard.installed(name)
    assert main(["info", f"installed:{name}"]) == 3
    assert "expected one of" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["", "Base", "../mini", "a/b", "a" * 65, "base\n", "\u0431ase"])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(InputError, match="for a folder use HarmGuard"):
        installed_folder(name)


@pytest.mark.parametrize("name", [None, 3, Path("base"), b"base"])
def test_what_is_no_string(name: object) -> None:
    with pytest.raises(InputTypeError, match="expected the name of a guard"):
        installed_folder(name)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["not_there_at_all", "os", "acme_guard.inner", "sys"])
def test_a_package_that_names_what_is_not_there(site: Path, value: str) -> None:
    package(site, "acme-guard", value=value)
    with pytest.raises(BundleNotFoundError, match="likely a damaged installation"):
        HarmGuard.installed("small")


def test_a_package_without_its_bundle(site: Path) -> None:
    shutil.rmtree(package(site, "acme-guard"))
    with pytest.raises(BundleNotFoundError, match="no folder at"):
        HarmGuard.installed("small")


def test_links_out_of_other_folders_stay_refused(site: Path, tmp_path: Path) -> None:
    package(site, "acme-guard", links=True)
    copy = shutil.copytree(site / "acme_guard" / "guard", tmp_path / "copy", symlinks=True)
    installed_folder("small")
    with pytest.raises(UnsafePathError, match="is a symbolic link"):
        HarmGuard(copy)
