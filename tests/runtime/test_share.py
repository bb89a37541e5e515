"""Prepared copies that take unpacked weights from the bundle's own file."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from harmguard.prepared.share import LINK_PREFIX, Place, is_shared, places, share_weights

LARGE = (300, 64)  # 76,800 bytes
DATA = "model.onnx.data"


def write(folder: Path, weights: dict[str, np.ndarray], packed: str = "") -> Path:
    """A model whose weights are outside; `packed` gets the mark of a packed block."""
    folder.mkdir()
    node = helper.make_node("Identity", ["x"], ["y"], doc_string="kept as it is")
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in "xy"]
    tensors = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph([node], "weights", values[:1], values[1:], tensors)
    model = helper.make_model(graph, producer_name="tests", ir_version=9)
    path = folder / "model.onnx"
    onnx.save(model, path, save_as_external_data=True, location=DATA, size_threshold=100)
    if packed:
        model = onnx.load(path, load_external_data=False)
        for tensor in model.graph.initializer:
            if tensor.name == packed:
                tensor.external_data.add(key="prepacked_0", value="MatMul+1|0;4;0")
        path.write_bytes(model.SerializeToString())
    return path


def values(path: Path) -> dict[str, np.ndarray]:
    """The weights of a model, read here: the onnx package opens no file that has two names."""
    found = {}
    for tensor in onnx.load(path, load_external_data=False).graph.initializer:
        entry = {each.key: each.value for each in tensor.external_data}
        if entry:
            offset, count = int(entry.get("offset", "0")), int(entry["length"]) // 4
            flat = np.fromfile(path.parent / entry["location"], np.float32, count, offset=offset)
            found[tensor.name] = flat.reshape(tensor.dims)
        else:
            found[tensor.name] = numpy_helper.to_array(tensor)
    return found


def weight(seed: int, shape: tuple[int, ...] = LARGE) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_equal_large_unpacked_weights_are_shared(tmp_path: Path) -> None:
    common = {"table": weight(1), "packed": weight(2), "small": weight(3, (40, 4))}
    original = write(tmp_path / "bundle", {"first": weight(4), "changed": weight(5), **common})
    model = write(tmp_path / "copy", {**common, "changed": weight(6), "own": weight(7)}, "packed")
    expected, before = values(model), onnx.load(model, load_external_data=False)
    size = (model.parent / DATA).stat()
    assert share_weights(model, original) == weight(1).nbytes
    assert sorted(os.listdir(model.parent)) == [LINK_PREFIX + DATA, "model.onnx", DATA]
    found = values(model)
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], expected[name]) for name in expected)
    assert places(model)["table"] == Place(
        LINK_PREFIX + DATA, places(original)["table"].offset, weight(1).nbytes, False
    )
    data = (model.parent / DATA).stat()
    assert data.st_size == size.st_size
    assert data.st_blocks < size.st_blocks
    after = onnx.load(model, load_external_data=False)
    for each in (before, after):
        for tensor in each.graph.initializer:
            if tensor.name == "table":
                del tensor.external_data[:]
    assert after == before, "nothing else is changed"


def test_a_link_is_known_while_it_is_the_bundles_file(tmp_path: Path) -> None:
    original = write(tmp_path / "bundle", {"table": weight(1)})
    model = write(tmp_path / "copy", {"table": weight(1)})
    share_weights(model, original)
    link = model.parent / (LINK_PREFIX + DATA)
    assert is_shared(link, original.parent)
    assert not is_shared(model.parent / DATA, original.parent)
    (original.parent / DATA).write_bytes(b"in place")
    assert is_shared(link, original.parent), "the bundle's own check finds this"
    (original.parent / DATA).unlink()
    assert not is_shared(link, original.parent)
    (original.parent / DATA).write_bytes(b"another file")
    assert not is_shared(link, original.parent)


@pytest.mark.parametrize("reason", ["other bytes", "other shape", "other name", "nothing outside"])
def test_nothing_to_share(reason: str, tmp_path: Path) -> None:
    theirs = {
        "other bytes": {"table": weight(2)},
        "other shape": {"table": weight(1, (301, 64))},
        "other name": {"tables": weight(1)},
        "nothing outside": {"table": weight(1, (2, 2))},
    }[reason]
    original = write(tmp_path / "bundle", theirs)
    model = write(tmp_path / "copy", {"table": weight(1)})
    before = [(path.name, path.read_bytes()) for path in sorted(model.parent.iterdir())]
    assert share_weights(model, original) == 0
    assert [(path.name, path.read_bytes()) for path in sorted(model.parent.iterdir())] == before


def test_links_that_cannot_be_made(tmp_path: Path) -> None:
    """A name that is taken fails a link as another file system does."""
    original = write(tmp_path / "bundle", {"table": weight(1)})
    model = write(tmp_path / "copy", {"table": weight(1)})
    (model.parent / (LINK_PREFIX + DATA)).write_bytes(b"")
    before = model.read_bytes()
    assert share_weights(model, original) == 0
    assert model.read_bytes() == before
    assert sorted(os.listdir(model.parent)) == ["model.onnx", DATA]


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=6))
def test_any_mix_of_weights(
    tmp_path_factory: pytest.TempPathFactory, parts: list[tuple[int, bool]]
) -> None:
    folder = tmp_path_factory.mktemp("mix")
    shapes = [(300, 64), (17, 3), (16384,), (2, 2)]
    theirs = {str(i): weight(i, shapes[kind]) for i, (kind, _) in enumerate(parts)}
    ours = {
        name: value if same else value + 1
        for (name, value), (_, same) in zip(theirs.items(), parts, strict=True)
    }
    original = write(folder / "bundle", dict(reversed(theirs.items())))
    model = write(folder / "copy", ours)
    share_weights(model, original)
    found = values(model)
    assert all(np.array_equal(found[name], ours[name]) for name in ours)
