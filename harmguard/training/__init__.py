"""Training: distil a student guard, evaluate and calibrate it. Needs the extra `[train]`."""

from __future__ import annotations

from importlib.util import find_spec

from harmguard.errors import MissingExtraError

_missing = [
    name
    for name in ("torch", "transformers", "accelerate", "sklearn", "matplotlib", "tqdm")
    if find_spec(name) is None
]
if _missing:
    raise MissingExtraError(
        f"harmguard.training needs {', '.join(_missing)}, not installed here; "
        "type: pip install 'harmguard[train]'"
    )
