"""Families without a graph of their own: optimum's export, in fp32."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from pathlib import Path

from harmguard.errors import MissingExtraError, UnsupportedModelError
from harmguard_export.checkpoint import Checkpoint
from harmguard_export.graph import OPSET


def export_with_optimum(checkpoint: Checkpoint, folder: Path) -> list[str]:
    """Write model.onnx (and its data) into `folder`; the names of the files.

    Raises UnsupportedModelError for an architecture that optimum does not know, and for a
    classifier with one output.
    """
    if checkpoint.config.num_labels == 1:
        raise UnsupportedModelError(
            f"a {checkpoint.config.model_type} with one label; expected two; likely a regression "
            "model (one label is read where the graph is ours)"
        )
    if find_spec("optimum") is None:
        raise MissingExtraError(
            "this model is exported with optimum-onnx, not installed here; "
            "type: pip install 'harmguard[export]'"
        )
    traced = folder / "traced"
    with warnings.catch_warnings():
        # Tracing warns about every shape that it turns into a constant.
        warnings.simplefilter("ignore")
        from optimum.exporters.onnx import main_export

        try:
            main_export(
                str(checkpoint.folder),
                output=str(traced),
                task="text-classification",
                opset=OPSET,
                do_validation=False,
                no_post_process=True,
                local_files_only=True,
            )
        except (ValueError, KeyError, NotImplementedError) as error:
            raise UnsupportedModelError(
                f"optimum cannot export it ({type(error).__name__}: {error}); expected a model "
                "type that it knows; likely a new architecture"
            ) from None
    for name in ("model.onnx", "model.onnx_data"):
        if (traced / name).exists():
            (traced / name).rename(folder / name)
    return [n for n in ("model.onnx", "model.onnx_data") if (folder / n).exists()]
