"""Read a saved .mlpackage back and run its program with torch: no Core ML is needed.

Weights are decompressed by the definitions of the constexpr operators. `half`: every operator's
fp16 output is rounded to fp16 (sums inside one operator are in float32); without it the same
program in float32, which tells errors of the program from rounding. Neither says what the Neural
Engine does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
import torch
from coremltools.converters.mil.frontend.milproto.load import load

from harmguard.errors import ProgramError
from harmguard_export.coreml import _operators
from harmguard_export.coreml.compress import identifier

Tensor = torch.Tensor


def read_program(package: Path) -> Any:
    """The MIL program of a saved package, weights included."""
    model = ct.models.MLModel(str(package), skip_model_load=True)
    spec = model.get_spec()
    return load(
        spec, specification_version=spec.specificationVersion, file_weights_dir=model.weights_dir
    )


class Evaluator:
    """Runs the program of a package."""

    def __init__(self, program: Any, *, half: bool) -> None:
        """Raises ProgramError if the program has an operator that is not known here."""
        self.half = half
        function = program.functions["main"]
        self._inputs = list(function.inputs)
        self._output = function.outputs[0].name
        self._ops = [op for op in function.operations if op.op_type != "const"]
        names = (op.op_type for op in self._ops)
        unknown = sorted({name for name in names if not hasattr(_operators, f"op_{name}")})
        if unknown:
            raise ProgramError(
                f"the program has the operators {', '.join(unknown)}, which the check on this "
                "machine does not know; expected those of harmguard_export.coreml; likely another "
                "release of coremltools"
            )
        self._fixed: dict[str, Any] = {}
        for op in self._ops:
            for value in op.inputs.values():
                for var in value if isinstance(value, list | tuple) else [value]:
                    if var is not None and var.name not in self._fixed and var.val is not None:
                        self._fixed[var.name] = _tensor(var.val)
        # Weights are decompressed once.
        stored = [op for op in self._ops if op.op_type.startswith("constexpr_")]
        self._ops = [op for op in self._ops if not op.op_type.startswith("constexpr_")]
        for op in stored:
            value = self._call(op, self._fixed)
            self._fixed[op.outputs[0].name] = value.half().float()
            for var in op.inputs.values():
                if var is not None:
                    self._fixed.pop(var.name, None)

    def __call__(self, feeds: Mapping[str, Any]) -> Any:
        """Logits [1, 2] for int32 inputs [1, length] by name."""
        values = self._values(feeds)
        with torch.inference_mode():
            for op in self._ops:
                out = self._call(op, values)
                if self.half and out.is_floating_point() and "fp16" in str(op.outputs[0].dtype):
                    out = out.half().float()
                values[op.outputs[0].name] = out
        return values[self._output].numpy()

    @property
    def inputs(self) -> list[str]:
        """Names of the inputs."""
        return self._inputs

    def replaced(self, weights: Mapping[str, Any]) -> Evaluator:
        """The same program with other values of some weights, in the shapes that they have."""
        other = object.__new__(Evaluator)
        other.__dict__.update(self.__dict__)
        other._fixed = dict(self._fixed)
        for weight, value in weights.items():
            name = identifier(weight)
            other._fixed[name] = torch.from_numpy(value).reshape(self._fixed[name].shape)
        return other

    def counted(self, feeds: Mapping[str, Any]) -> tuple[Counter[str], Counter[str]]:
        """Operators by kind, and multiply-adds by kind, for these inputs."""
        kinds: Counter[str] = Counter(op.op_type for op in self._ops)
        work: Counter[str] = Counter()
        values = self._values(feeds)
        with torch.inference_mode():
            for op in self._ops:
                out = self._call(op, values)
                values[op.outputs[0].name] = out
                work[op.op_type] += _operators.multiply_adds(op.op_type, _given(op, values), out)
        return kinds, +work

    def _values(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        given = {name: torch.from_numpy(np.asarray(x, np.int32)) for name, x in feeds.items()}
        return self._fixed | given

    @staticmethod
    def _call(op: Any, values: Mapping[str, Any]) -> Any:
        return getattr(_operators, f"op_{op.op_type}")(**_given(op, values))


def _given(op: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for name, value in op.inputs.items():
        if isinstance(value, list | tuple):
            given[name] = [values[var.name] for var in value]
        elif value is not None:
            given[name] = values[value.name]
    return given


def _tensor(value: Any) -> Any:
    """A constant: text as it is, fp16 as float32, small integers as torch can count with them."""
    if isinstance(value, str):
        return value
    array = np.asarray(value)
    if array.dtype.kind in "US":
        return str(array)
    if array.dtype == np.float16:
        array = array.astype(np.float32)
    elif array.dtype.kind == "u" and array.dtype.itemsize > 1:
        array = array.astype(np.int64)
    return torch.from_numpy(np.array(array, order="C"))
