"""Families without a graph of their own: optimum's export, in fp32."""

from __future__ import annotations

from pathlib import Path

import onnx

from harmguard.checkpoint import INPUTS, Checkpoint
from harmguard.checkpoint.quiet import quiet
from harmguard.errors import UnsupportedModelError
from harmguard.extras import require
from harmguard_export.graphs.writer import OPSET


def export_with_optimum(checkpoint: Checkpoint, folder: Path) -> list[str]:
    """Write model.onnx (and its data) into `folder`; the names of the files.

    Raises UnsupportedModelError for an architecture that optimum does not know, or traces into
    something else than a function of the checkpoint's inputs.
    """
    require("an export of this model", "optimum", extra="export")
    traced = folder / "traced"
    kind = checkpoint.config.model_type
    try:
        with quiet():
            from optimum.exporters.onnx import onnx_export_from_model

            # The model in memory, not the folder: its head may have been put in order.
            onnx_export_from_model(
                checkpoint.model,
                traced,
                task="text-classification",
                opset=OPSET,
                do_validation=False,
                no_post_process=True,
            )
    except Exception as error:  # whatever optimum, torch's tracer and the model's code raise
        reason = str(error).strip().partition("\n")[0].partition(". ")[0][:200]
        raise UnsupportedModelError(
            f"optimum cannot export a {kind} ({type(error).__name__}: {reason}); expected a model "
            "type that it knows; likely a new or a rare architecture"
        ) from None
    _check_inputs(traced / "model.onnx", kind)
    for name in ("model.onnx", "model.onnx_data"):
        if (traced / name).exists():
            (traced / name).rename(folder / name)
    return [n for n in ("model.onnx", "model.onnx_data") if (folder / n).exists()]


def graph_inputs(path: Path) -> tuple[str, ...]:
    """The names of a graph's inputs, in order."""
    graph = onnx.load(path, load_external_data=False).graph
    constants = {tensor.name for tensor in graph.initializer}
    return tuple(value.name for value in graph.input if value.name not in constants)


def _check_inputs(path: Path, kind: str) -> None:
    found = graph_inputs(path)
    if set(found) not in (set(INPUTS), set(INPUTS[:2])):
        raise UnsupportedModelError(
            f"the traced graph of a {kind} has the inputs {', '.join(found)}; expected "
            f"{', '.join(INPUTS[:2])} and perhaps {INPUTS[2]}; likely a family that a bundle "
            "cannot hold"
        )
