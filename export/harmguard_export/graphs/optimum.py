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
    _settle_branches(traced / "model.onnx")
    for name in ("model.onnx", "model.onnx_data"):
        if (traced / name).exists():
            (traced / name).rename(folder / name)
    return [n for n in ("model.onnx", "model.onnx_data") if (folder / n).exists()]


def graph_inputs(path: Path) -> tuple[str, ...]:
    """The names of a graph's inputs, in order."""
    graph = onnx.load(path, load_external_data=False).graph
    constants = {tensor.name for tensor in graph.initializer}
    return tuple(value.name for value in graph.input if value.name not in constants)


def _settle_branches(path: Path) -> None:
    """Take what an encoder does where a traced graph asks whether queries are as many as keys.

    The first DeBERTa's code asks it, because in a decoder they need not be; a bundle may not hold
    `If`. Other branches stay, and are refused by the rules for graphs.
    """
    model = onnx.load(path, load_external_data=False)
    makers = {output: node for node in model.graph.node for output in node.output}
    settled: dict[str, str] = {}
    kept = []
    for node in model.graph.node:
        taken = _taken_when_equal(node, makers)
        if taken is None:
            kept.append(node)
        else:
            settled[node.output[0]] = taken
    if not settled:
        return
    for node in kept:
        for index, name in enumerate(node.input):
            while name in settled:
                name = settled[name]
            node.input[index] = name
    used = {name for node in kept for name in node.input}
    # A branch that stays may use constants too: the file is refused then, whatever it holds.
    constants = [tensor for tensor in model.graph.initializer if tensor.name in used]
    for field, values in ((model.graph.node, kept), (model.graph.initializer, constants)):
        del field[:]
        field.extend(values)
    onnx.save(model, path)


def _taken_when_equal(node: onnx.NodeProto, makers: dict[str, onnx.NodeProto]) -> str | None:
    """What an `If` that asks whether two numbers differ gives where they do not; else None."""
    if node.op_type != "If":
        return None
    asked = makers.get(node.input[0])
    for op in ("Cast", "Not", "Equal"):
        if asked is None or asked.op_type != op:
            return None
        asked = makers.get(asked.input[0])
    branches = {attribute.name: attribute.g for attribute in node.attribute}
    other = branches["else_branch"].node
    return str(other[0].input[0]) if [n.op_type for n in other] == ["Identity"] else None


def _check_inputs(path: Path, kind: str) -> None:
    found = graph_inputs(path)
    if set(found) not in (set(INPUTS), set(INPUTS[:2])):
        raise UnsupportedModelError(
            f"the traced graph of a {kind} has the inputs {', '.join(found)}; expected "
            f"{', '.join(INPUTS[:2])} and perhaps {INPUTS[2]}; likely a family that a bundle "
            "cannot hold"
        )
