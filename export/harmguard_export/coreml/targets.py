"""What a deployment target can do: which recipes, and how the length of an input is given."""

from __future__ import annotations

from collections.abc import Sequence

from harmguard.bundle.coreml import Lengths
from harmguard.errors import DeploymentTargetError, UnsupportedModelError

DEFAULT_LENGTHS = (32, 64, 128, 256, 512)
TARGETS = ("iOS18", "iOS17")
_OTHER_NAMES = {"iOS18": "macOS15", "iOS17": "macOS14"}


def choose_lengths(target: str, wanted: Sequence[int] | None, positions: int) -> Lengths:
    """The lengths for a model of so many positions.

    iOS18 has enumerated ones, `wanted` or DEFAULT_LENGTHS; iOS17 has a range from 1 and refuses
    others, because it takes an enumeration for one input only. Raises DeploymentTargetError.
    """
    if target not in TARGETS:
        raise DeploymentTargetError(
            f"deployment target {target!a}; expected {' or '.join(TARGETS)}; older systems lack "
            "operators of the program"
        )
    if target == "iOS17":
        if wanted is not None:
            raise DeploymentTargetError(
                f"lengths {list(wanted)} for iOS17; expected none: only iOS18 can enumerate the "
                "lengths of several inputs, iOS17 takes every length up to the model's positions"
            )
        return Lengths("range", (1, min(positions, DEFAULT_LENGTHS[-1])), ())
    asked = sorted(set(DEFAULT_LENGTHS if wanted is None else wanted))
    if not asked or asked[0] < 1:
        raise DeploymentTargetError(
            f"lengths {asked}; expected positive numbers of tokens; likely a typo"
        )
    fit = tuple(n for n in asked if n <= positions)
    if not fit:
        raise UnsupportedModelError(
            f"the model has {positions} positions; expected at least {asked[0]}, the shortest "
            "length; likely a model too small for these lengths: choose others with --lengths"
        )
    return Lengths("enumerated", fit, tuple(n for n in asked if n > positions))


def check_recipe(target: str, kind: str) -> None:
    """Raise DeploymentTargetError for a weight format that the target lacks."""
    if target == "iOS17" and kind == "int4":
        raise DeploymentTargetError(
            "recipe 'int4' for iOS17; expected fp16, int8 or palette4: 4-bit weights with a scale "
            "per block need iOS18; likely --deployment iOS18 or --recipe palette4 is meant"
        )


def described(target: str) -> str:
    """The target with the macOS of the same year."""
    return f"{target} ({_OTHER_NAMES[target]})"
