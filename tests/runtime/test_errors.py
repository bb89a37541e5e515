from __future__ import annotations

import inspect

import harmguard
from harmguard import errors


def _classes() -> dict[str, type]:
    found = inspect.getmembers(errors, inspect.isclass)
    return {name: cls for name, cls in found if cls.__module__ == errors.__name__}


def test_public_names_are_the_guards_the_verdicts_and_the_errors_that_an_app_handles() -> None:
    names = {"Cascade", "HarmGuard", "StreamVerdict", "Verdict", "__version__"}
    assert set(harmguard.__all__) - names <= set(_classes())
    assert all(hasattr(harmguard, name) for name in names)
    assert not hasattr(harmguard, "cascading")


def test_every_error_has_the_base_and_a_docstring() -> None:
    for name, cls in _classes().items():
        base = harmguard.HarmGuardWarning if name.endswith("Warning") else harmguard.HarmGuardError
        assert issubclass(cls, base), name
        assert cls.__doc__, name


def test_the_tree_in_the_docstring_names_every_error_below_its_parent() -> None:
    tree = (errors.__doc__ or "").splitlines()
    depth: dict[str, int] = {}
    for line in tree:
        words = line.split("──")[-1].split()
        if words and words[0] in _classes():
            depth[words[0]] = line.index(words[0])
    assert set(depth) == set(_classes())
    for name, cls in _classes().items():
        parents = [base.__name__ for base in cls.__bases__ if base.__name__ in depth]
        for parent in parents:
            assert depth[parent] < depth[name]


def test_errors_can_be_caught_as_their_builtin_kinds() -> None:
    assert issubclass(harmguard.InputError, ValueError)
    assert issubclass(errors.InputTypeError, TypeError)
    assert issubclass(harmguard.MissingExtraError, ImportError)
