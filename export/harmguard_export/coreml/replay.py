"""The second check: coremltools' own value inference over a program, in float32.

Each operator is given to the MIL builder again with constants for inputs; the builder computes
its value with numpy, in code that has nothing in common with `_operators.py`. It has no values
for convolutions: a 1x1 convolution is replayed as the linear operator that it equals.
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
                "as it can compute; likely a model with a convolution over tokens"
            )
        values[op.outputs[0].name] = _wide(out)
    return np.asarray(values[function.outputs[0].name])


def _value(kind: str, given: dict[str, Any]) -> Any:
    if kind == "conv":
        weight = given["weight"]
        if weight.shape[2:] != (1, 1):
            return None
        rows = np.ascontiguousarray(given["x"][0, :, 0].T)
        bias = {"bias": given["bias"]} if "bias" in given else {}
        out = mb.linear(x=rows, weight=np.ascontiguousarray(weight[:, :, 0, 0]), **bias).val
        return out.T[None, :, None]
    if kind == "cast" and given["dtype"] == "fp16":
        given = {**given, "dtype": "fp32"}
    return getattr(mb, kind)(**given).val


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
