"""The public surface: what `harmguard` exports, and how it is called."""

from __future__ import annotations
import __future__

import inspect
import types

import harmguard
from harmguard import Cascade, HarmGuard, errors

MAX_OPTIONS = 6


def test_all_is_exactly_the_public_names() -> None:
    public = {
        name
        for name, value in vars(harmguard).items()
        if not name.startswith("_")
        and not isinstance(value, (types.ModuleType, __future__._Feature))
    }
    assert harmguard.__all__ == sorted(public | {"Cascade", "__version__"})


def test_apps_get_a_dozen_names_and_find_every_other_error_in_errors() -> None:
    assert len(harmguard.__all__) <= 13
    for name in set(harmguard.__all__) & set(vars(errors)):
        assert getattr(harmguard, name) is getattr(errors, name)


def test_every_error_has_one_root() -> None:
    for name in harmguard.__all__:
        value = getattr(harmguard, name)
        if isinstance(value, type) and issubclass(value, Exception):
            root = harmguard.HarmGuardWarning if issubclass(value, Warning) else None
            assert issubclass(value, root or harmguard.HarmGuardError), name


def test_guard_has_exactly_the_documented_methods() -> None:
    public = {name for name in vars(HarmGuard) if not name.startswith("_")}
    methods = {name for name in public if callable(getattr(HarmGuard, name))}
    assert methods == {"check", "check_many", "close", "installed", "score", "score_many"}
    added = {name for name in dir(HarmGuard) if not name.startswith("_")} - public
    assert added == {"astream", "explain", "stream"}


def test_options_are_few_and_keyword_only() -> None:
    for callable_ in (
        *(HarmGuard.__init__, HarmGuard.score, HarmGuard.check, HarmGuard.score_many),
        *(HarmGuard.stream, HarmGuard.astream, HarmGuard.explain, Cascade.__init__),
    ):
        parameters = inspect.signature(callable_).parameters.values()
        options = [p for p in parameters if p.default is not inspect.Parameter.empty]
        assert len(options) <= MAX_OPTIONS
        positional = {p.name for p in options if p.kind is not inspect.Parameter.KEYWORD_ONLY}
        assert positional <= {"bundle", "response"}


def test_public_functions_are_documented() -> None:
    for name in (
        *("astream", "check", "check_many", "close", "explain", "score", "score_many", "stream"),
    ):
        assert inspect.getdoc(getattr(HarmGuard, name)), name
