"""Checkpoint -> bundle: graph, recipe, parity gate. Needs the extra `[export]`.

from harmguard_export import export
export(Path("checkpoint"), Path("bundle"), recipe="int8")
"""

from __future__ import annotations

from harmguard.extras import require

require("harmguard_export", "onnx", "torch", "tqdm", "transformers", extra="export")

from harmguard_export.exporter import export  # noqa: E402

__all__ = ["export"]
