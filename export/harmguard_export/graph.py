"""A small writer of ONNX graphs: nodes in order, names counted, weights in a file beside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 18
IR_VERSION = 9
MICROSOFT = "com.microsoft"
# onnxruntime maps the file and wants tensors to begin on a page.
_ALIGN = 4096
_INLINE_BYTES = 1024


class Graph:
    """Collects nodes and weights; every method that adds one returns its output's name."""

    def __init__(self, inputs: tuple[str, ...]) -> None:
        self._inputs = inputs
        self._nodes: list[onnx.NodeProto] = []
        self._weights: dict[str, npt.NDArray[Any]] = {}

    def weight(self, name: str, values: npt.NDArray[Any]) -> str:
        """Add a named weight."""
        self._weights[name] = np.ascontiguousarray(values)
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
        name = f"{op}.{len(self._nodes)}"
        names = [name] if outputs == 1 else [f"{name}.{i}" for i in range(outputs)]
        self._nodes.append(
            helper.make_node(op, inputs, names, name=name, domain=domain, **attributes)
        )
        return names[0] if outputs == 1 else names

    def save(self, logits: str, labels: int, folder: Path) -> list[str]:
        """Write model.onnx and model.onnx.data into `folder`; the names of both."""
        self._nodes.append(helper.make_node("Identity", [logits], ["logits"], name="logits"))
        shape: list[str | int] = ["batch", "length"]
        graph = helper.make_graph(
            self._nodes,
            "guard",
            [helper.make_tensor_value_info(n, TensorProto.INT64, shape) for n in self._inputs],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", labels])],
        )
        data = folder / "model.onnx.data"
        with data.open("xb") as file:
            for name, values in self._weights.items():
                tensor = numpy_helper.from_array(values, name)
                if values.nbytes > _INLINE_BYTES:
                    file.write(b"\0" * (-file.tell() % _ALIGN))
                    place = {"location": data.name, "offset": file.tell(), "length": values.nbytes}
                    file.write(tensor.raw_data)
                    tensor.ClearField("raw_data")
                    tensor.data_location = TensorProto.EXTERNAL
                    for key, value in place.items():
                        tensor.external_data.add(key=key, value=str(value))
                graph.initializer.append(tensor)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)]
        model = helper.make_model(
            graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="harmguard"
        )
        (folder / "model.onnx").write_bytes(model.SerializeToString(deterministic=True))
        return ["model.onnx", data.name]
