"""A small writer of ONNX graphs: nodes in order, names counted, weights in a file beside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 18
IR_VERSION = 9
MICROSOFT = "com.microsoft"
DATA_FILE = "model.onnx.data"
# Repositories and package indexes take files of at most 100 MB.
PART_BYTES = 95_000_000
# onnxruntime maps the file and wants tensors to begin on a page.
_ALIGN = 4096
_INLINE_BYTES = 1024


class Graph:
    """Collects nodes and weights; every method that adds one returns its output's name.

    Large weights go to files in `folder` as they are added, so that no more than one of them is
    held in memory: to model.onnx.data, then, where a weight would carry it past PART_BYTES, to
    model.2.onnx.data, and so on. A context manager; `save` ends it.
    """

    def __init__(self, inputs: tuple[str, ...], folder: Path) -> None:
        self._inputs = inputs
        self._folder = folder
        self._nodes: list[onnx.NodeProto] = []
        self._names = 0
        self._tensors: dict[str, onnx.TensorProto] = {}
        self._files = [DATA_FILE]
        self._data = (folder / DATA_FILE).open("xb")

    def __enter__(self) -> Graph:
        return self

    def __exit__(self, *_: object) -> None:
        self._data.close()

    def weight(self, name: str, values: npt.NDArray[Any]) -> str:
        """Add a named weight; a second one of the same name is taken to be the same."""
        if name in self._tensors:
            return name
        values = np.asarray(values, order="C")
        if values.nbytes <= _INLINE_BYTES:
            self._tensors[name] = numpy_helper.from_array(values, name)
            return name
        end = self._data.tell() + -self._data.tell() % _ALIGN + values.nbytes
        if self._data.tell() and end > PART_BYTES:
            self._data.close()
            self._files.append(f"model.{len(self._files) + 1}.onnx.data")
            self._data = (self._folder / self._files[-1]).open("xb")
        self._data.write(b"\0" * (-self._data.tell() % _ALIGN))
        tensor = onnx.TensorProto(
            name=name,
            dims=values.shape,
            data_type=helper.np_dtype_to_tensor_dtype(values.dtype),
            data_location=TensorProto.EXTERNAL,
        )
        place = {"location": self._files[-1], "offset": self._data.tell(), "length": values.nbytes}
        for key, value in place.items():
            tensor.external_data.add(key=key, value=str(value))
        self._data.write(values.astype(values.dtype.newbyteorder("<"), copy=False).data)
        self._tensors[name] = tensor
        return name

    def constant(self, values: Any, kind: Any = np.int64) -> str:
        """A small constant, shared by all its users."""
        array = np.array(values, kind)
        shape = "x".join(map(str, array.shape))
        return self.weight(f"const.{array.dtype}.{shape}.{array.tolist()}", array)

    def node(
        self, op: str, inputs: list[str], *, outputs: int = 1, domain: str = "", **attributes: Any
    ) -> Any:
        """Add a node; its output's name, or a list of names for several outputs."""
        name = f"{op}.{self._names}"
        self._names += 1
        names = [name] if outputs == 1 else [f"{name}.{i}" for i in range(outputs)]
        self._nodes.append(
            helper.make_node(op, inputs, names, name=name, domain=domain, **attributes)
        )
        return names[0] if outputs == 1 else names

    def scan(self, slices: Mapping[str, int], body: Callable[[list[str]], str], kind: int) -> str:
        """Run `body` once for each index of the first axis of `slices`, name -> element type.

        `body` adds the nodes of one turn, given the names of its slices, and returns the name of
        the turn's output of type `kind`; outputs are stacked along a new first axis.
        """
        outer, self._nodes = self._nodes, []
        inputs = [f"slice.{self._names}.{index}" for index in range(len(slices))]
        output = body(inputs)
        inner, self._nodes = self._nodes, outer
        turn = helper.make_graph(
            inner,
            f"turn.{self._names}",
            [
                helper.make_tensor_value_info(name, elements, None)
                for name, elements in zip(inputs, slices.values(), strict=True)
            ],
            [helper.make_tensor_value_info(output, kind, None)],
        )
        return str(self.node("Scan", list(slices), body=turn, num_scan_inputs=len(slices)))

    def save(self, logits: str, labels: int) -> list[str]:
        """Write model.onnx beside its data; the names of all files."""
        self._nodes.append(helper.make_node("Identity", [logits], ["logits"], name="logits"))
        shape: list[str | int] = ["batch", "length"]
        graph = helper.make_graph(
            self._nodes,
            "guard",
            [helper.make_tensor_value_info(n, TensorProto.INT64, shape) for n in self._inputs],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", labels])],
            list(self._tensors.values()),
        )
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)]
        model = helper.make_model(
            graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="harmguard"
        )
        self._data.close()
        (self._folder / "model.onnx").write_bytes(model.SerializeToString(deterministic=True))
        return ["model.onnx", *self._files]
