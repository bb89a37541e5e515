"""What an extra brings, asked for before it is used."""

from __future__ import annotations

import importlib.util

from harmguard.errors import MissingExtraError


def require(what: str, *modules: str, extra: str) -> None:
    """Raise MissingExtraError unless all modules can be found. `what` begins the message."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtraError(
            f"{what} needs {', '.join(missing)}, not installed here; "
            f"type: pip install 'harmguard[{extra}]'"
        )
