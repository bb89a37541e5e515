"""Guards that come as packages of their own: found by the entry points of what is installed.

A package says `[project.entry-points."harmguard.guards"]`, `base = "harmguard_base"`: the guard
`base` is the bundle in the folder `guard` of the package `harmguard_base`. Nothing of the package
is imported, nothing is downloaded, and a name that two packages have is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from harmguard.bundle.regular import EMBEDDED, trust_package
from harmguard.errors import AmbiguousGuardError, BundleNotFoundError, InputError, InputTypeError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "harmguard.guards"
PREFIX = "installed:"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")  # as a manifest's name
_OWN = "mini"  # comes with harmguard itself


def installed_guards() -> list[str]:
    """The names of all guards that are installed, mini among them."""
    return sorted({_OWN, *(point.name for point in _points())})


def installed_folder(name: str) -> Path:
    """The bundle's folder of the installed guard `name`.

    Raises BundleNotFoundError where no package has it, AmbiguousGuardError where two have,
    InputTypeError or InputError for what is no name.
    """
    if not isinstance(name, str):
        raise InputTypeError(f"name is {type(name).__name__}; expected the name of a guard, as str")
    if not _NAME.fullmatch(name):
        raise InputError(
            f"name is {name!a:.40}; expected the name of an installed guard, one of "
            f"{', '.join(installed_guards())}; for a folder use HarmGuard(folder)"
        )
    points = _distinct(_points(name))
    if len(points) + (name == _OWN) > 1:
        owners = sorted(_owner(point) for point in points)
        owners += ["harmguard"] * (name == _OWN)
        raise AmbiguousGuardError(
            f"guard {name!a} is in {len(owners)} installed packages ({', '.join(owners)}); "
            "expected one; likely a copy under another name: uninstall all but the one you trust"
        )
    if name == _OWN:
        return EMBEDDED
    if not points:
        raise BundleNotFoundError(
            f"no guard {name!a} is installed; expected one of {', '.join(installed_guards())}; "
            "likely its package is in another environment, or a spelling mistake"
        )
    return _folder(points[0])


def guard_folder(value: str | None) -> Path:
    """The folder that a command line names: FOLDER, installed:NAME, or None for mini."""
    if value is None:
        return EMBEDDED
    if value.startswith(PREFIX):
        return installed_folder(value.removeprefix(PREFIX))
    return Path(value)


def _points(name: str | None = None) -> list[EntryPoint]:
    from importlib.metadata import entry_points  # a megabyte, of which most guards need nothing

    found = entry_points(group=GROUP)
    return [point for point in found if name in (None, point.name)]


def _distinct(points: Iterable[EntryPoint]) -> list[EntryPoint]:
    """One entry point for each package; the same one may be found on two paths."""
    found = {(_owner(point), point.value): point for point in points}
    return list(found.values())


def _owner(point: EntryPoint) -> str:
    return str(point.dist.name) if point.dist else "unknown"


def _folder(point: EntryPoint) -> Path:
    spec = find_spec(point.module) if "." not in point.module else None
    places = list(spec.submodule_search_locations or ()) if spec else []
    if len(places) != 1:
        raise BundleNotFoundError(
            f"package {_owner(point)!a} names {point.value[:60]!a} for its guard, which is not "
            "there; expected one top-level package; likely a damaged installation: install it again"
        )
    folder = Path(places[0]) / "guard"
    trust_package(folder)
    return folder
