"""Whether a graph's position tables are as long as its windows, read off the ONNX file.

A run of the largest window would tell, too, and cost each load as much as the slowest call.
"""

from __future__ import annotations

from harmguard.bundle.onnx_file import Graph, small_ints
from harmguard.errors import GraphMismatchError


def check_positions(graph: Graph, data: bytes, max_tokens: int) -> None:
    """Raise GraphMismatchError for a table that is cut to the input's length and is shorter.

    Such a table is a stored tensor, sliced from 0 to a length that is computed.
    """
    tensors = {tensor.name: tensor for tensor in graph.tensors}
    for node in graph.nodes:
        if node.op != "Slice" or len(node.inputs) != 4:
            continue
        table, begin, end, axis = node.inputs
        if not {table, begin, axis} <= tensors.keys() or end in tensors:
            continue
        shape = tensors[table].dims
        begins, axes = (small_ints(tensors[name], data) for name in (begin, axis))
        if begins == [0] and axes and -len(shape) <= axes[0] < len(shape):
            _check(table, shape[axes[0]], max_tokens)


def _check(table: str, rows: int, max_tokens: int) -> None:
    if rows < max_tokens:
        raise GraphMismatchError(
            f"model.onnx: {table[:80]!a} has {rows:,} rows; expected at least max_tokens, "
            f"{max_tokens:,}; likely a max_tokens of another model"
        )
