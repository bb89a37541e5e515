"""harmguard: a harm score for a prompt, or a prompt and its response, on the user's own device.

Here is what an app needs; every other error and warning is in `harmguard.errors`.
"""

from __future__ import annotations

import typing as _typing

from .errors import (
    BundleError,
    ForkedGuardError,
    GuardClosedError,
    HarmfulStreamError,
    HarmGuardError,
    HarmGuardWarning,
    InputError,
    MissingExtraError,
)
from .verdict import StreamVerdict, Verdict

if _typing.TYPE_CHECKING:
    from .cascade import Cascade
    from .guard import HarmGuard

__version__ = "0.1.0"
__all__ = [
    "BundleError",
    "Cascade",
    "ForkedGuardError",
    "GuardClosedError",
    "HarmGuard",
    "HarmGuardError",
    "HarmGuardWarning",
    "HarmfulStreamError",
    "InputError",
    "MissingExtraError",
    "StreamVerdict",
    "Verdict",
    "__version__",
]


def __getattr__(name: str) -> object:
    # At the first use: the command has to name every error, one of numpy's import among them.
    if name == "HarmGuard":
        from .guard import HarmGuard as found
    elif name == "Cascade":
        from .cascade import Cascade as found  # type: ignore[assignment]
    else:
        raise AttributeError(f"module 'harmguard' has no attribute {name!r}")
    globals()[name] = found
    return found
