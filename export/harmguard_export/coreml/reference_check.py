"""The second check: coremltools' own value inference over a program, in float32.

Each operator is given to the MIL builder again with constants for inputs; the builder computes
its value with numpy, in code that has nothing in common with `_operators.py`. It has no values
for convolutions: they are replayed as the linear operators that they equal, one for each place
and group.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import coremltools as ct
import numpy as np
from coremltools.converters.mil.mil import Builder as mb
from coremltools.converters.mil.mil import Function

from harmguard.errors import ProgramError


def replay(program: Any, feeds: Mapping[str, Any], target: str) -> Any:
    """Logits [1, 2] of an uncompressed MIL program for int32 inputs [1, length].

    Raises ProgramError for an operator whose value coremltools does not infer.
    """
    function = program.functions["main"]
    values: dict[str, Any] = dict(feeds)
    opset = getattr(ct.target, target)
    for op in function.operations:
        if op.op_type == "const":
            continue
        given = {name: _given(value, values) for name, value in op.inputs.items()}
        given = {name: value for name, value in given.items() if value is not None}
        with Function({}, opset_version=opset):
            out = _value(op.op_type, given)
        if out is None:
            raise ProgramError(
                f"coremltools infers no value for the operator {op.op_type}; expected only such "
                "as it can compute; likely another release of coremltools"
            )
        values[op.outputs[0].name] = _wide(out)
    return np.asarray(values[function.outputs[0].name])


def _value(kind: str, given: dict[str, Any]) -> Any:
    if kind == "conv":
        return _convolution(**given)
    if kind == "cast" and given["dtype"] == "fp16":
        given = {**given, "dtype": "fp32"}
    return getattr(mb, kind)(**given).val


def _convolution(
    x: Any, weight: Any, bias: Any = None, groups: Any = 1, pad: Any = (0, 0, 0, 0), **_: Any
) -> Any:
    """A convolution over the last axis [1, channels, 1, length] as a sum of linear operators."""
    out = None
    padded = np.pad(x[0, :, 0], ((0, 0), (int(pad[2]), int(pad[3]))))
    length = padded.shape[1] - weight.shape[3] + 1
    inputs = np.split(padded, int(groups))
    outputs = np.split(weight[:, :, 0], int(groups))
    for place in range(weight.shape[3]):
        parts = []
        for rows, kernel in zip(inputs, outputs, strict=True):
            here = np.ascontiguousarray(rows[:, place : place + length].T)
            parts.append(mb.linear(x=here, weight=np.ascontiguousarray(kernel[:, :, place])).val)
        found = np.concatenate(parts, 1)
        out = found if out is None else out + found
    assert out is not None
    return (out if bias is None else out + bias).T[None, :, None]


def _given(value: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(value, list | tuple):
        return [_given(item, values) for item in value]
    if value is None:
        return None
    return values[value.name] if value.name in values else _wide(value.val)


def _wide(value: Any) -> Any:
    """fp16 as float32; all else as it is."""
    if isinstance(value, np.ndarray | np.generic) and value.dtype == np.float16:
        return value.astype(np.float32)
    return value
