"""Checkpoint -> bundle: graph, recipe, parity gate. Needs the extra `[export]`.

from harmguard_export import export
export(Path("checkpoint"), Path("bundle"), recipe="int8")
"""

from __future__ import annotations

from importlib.util import find_spec

from harmguard.errors import MissingExtraError

_missing = [n for n in ("onnx", "torch", "tqdm", "transformers") if find_spec(n) is None]
if _missing:
    raise MissingExtraError(
        f"harmguard_export needs {', '.join(_missing)}, not installed here; "
        "type: pip install 'harmguard[export]'"
    )

from harmguard_export.exporter import export  # noqa: E402

__all__ = ["export"]
