"""A stranger's bundle: what the commands print of it, what it may take, how it is interrupted."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from harmguard import HarmGuard, HarmGuardError
from harmguard.bundle import open_bundle, version_key
from harmguard.cli import main
from harmguard.errors import BundleFileError, BundleNotFoundError, GraphMismatchError
from harmguard.runtime import session as sessions
from harmguard.verify import verify
from tests.attacks.base import edit, model, put, put_model

ODD = {
    "override": "safe\u202egnirts\u202c",
    "isolate": "\u2066hidden\u2069",
    "separator": "one\u2028licence      forged",
    "paragraph": "one\u2029two",
    "invisible": "a\u200bb\ufeffc",
    "tags": "x\U000e0041\U000e0042",
}


@pytest.fixture
def folder(small_bundle: Path, tmp_path: Path) -> Path:
    """A copy of a bundle, to be spoilt."""
    return Path(shutil.copytree(small_bundle, tmp_path / "guard"))


def all_strings(value: Any, text: str) -> None:
    """Put `text` into every free field of a manifest that `info` prints."""
    value.update(licence=text, base_model=text, metrics={text: {text: text}})
    value["training"] = {"data": [{"source": text, "licence": text, "rows": None}], "recipe": text}
    value["precision"].update(recipe=text, exceptions=[text], parity={text: text})
    for points in value["thresholds"].values():
        points["default"].update(set=text, rule=text)


@pytest.mark.parametrize("name", ODD)
def test_info_prints_nothing_that_a_terminal_obeys(
    folder: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(folder, lambda value: all_strings(value, ODD[name]))
    assert main(["info", str(folder)]) == 0
    lines = capsys.readouterr().out.split("\n")
    assert len(lines) > 15
    assert all(line.isprintable() for line in lines)
    assert sum("\\u" in line or "\\U" in line for line in lines) >= 6
    assert not [line for line in lines if line.startswith("licence      forged")]


# What onnxruntime says


@pytest.mark.parametrize(
    "name", ["\x1b[2J\x1b]0;owned\x07", "a\nharmguard: fine", "\u202egood", "x" * 4000]
)
def test_names_in_a_graph_do_not_reach_the_terminal(
    folder: Path, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    made = model(folder)
    made.graph.node.append(helper.make_node("Add", ["input_ids", "words"], [name], name=name))
    put_model(folder, made)
    assert main(["score", "--guard", str(folder), "hello"]) == 3
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.strip().isprintable()
    assert err.startswith("harmguard: BundleFileError: model.onnx cannot be loaded")
    assert len(err) < 1000


@pytest.mark.parametrize("name", ["\x1b[2J", "a\u2028b", "z" * 3000])
def test_names_of_outputs_do_not_either(folder: Path, name: str) -> None:
    made = model(folder)
    made.graph.node[-1].output[0] = name
    made.graph.output[0].name = name
    put_model(folder, made)
    with pytest.raises(GraphMismatchError, match="outputs are named") as caught:
        HarmGuard(folder, threads=1)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000


# Memory


def growing(folder: Path, times: int) -> None:
    """A graph that doubles a tensor of the text again and again."""
    made = model(folder)
    nodes = [helper.make_node("Cast", ["input_ids"], ["g0"], to=TensorProto.FLOAT)]
    nodes += [
        helper.make_node("Concat", [f"g{i}", f"g{i}"], [f"g{i + 1}"], axis=1) for i in range(times)
    ]
    shape = onnx.numpy_helper.from_array(np.array([1], np.int64), "axes")
    made.graph.initializer.append(shape)
    nodes.append(helper.make_node("ReduceMax", [f"g{times}", "axes"], ["most"], keepdims=1))
    nodes.append(helper.make_node("Mul", ["most", "zero"], ["nothing"]))
    made.graph.initializer.append(onnx.numpy_helper.from_array(np.array(0, np.float32), "zero"))
    made.graph.node[-1].output[0] = "before"
    nodes.append(helper.make_node("Add", ["before", "nothing"], ["logits"]))
    made.graph.node.extend(nodes)
    put_model(folder, made)


@pytest.mark.skipif(
    version_key(sessions.ort.__version__) < (1, 32),
    reason="older releases take the limit of the first session of a process",
)
@pytest.mark.parametrize("times", [30, 40, 60])
def test_tensors_have_a_limit(folder: Path, times: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MAX_MEMORY", 100_000_000)
    growing(folder, times)
    with pytest.raises(HarmGuardError), HarmGuard(folder, threads=1) as guard:
        guard.score("how to make bread")


def test_a_growing_graph_below_the_limit_runs(folder: Path) -> None:
    growing(folder, 4)
    with HarmGuard(folder, threads=1) as guard:
        assert 0 < guard.score("how to make bread") < 1


# Verify


@pytest.mark.parametrize("logits", [[1e308, -1e308], [-1e308, 1e308], [1e200, 3.0], [0, 9**99]])
def test_verify_warns_of_nothing_on_absurd_rows(folder: Path, logits: list[float]) -> None:
    row = {"prompt": "a", "response": None, "ids": [[2, 15, 3]], "score": 1.0, "tolerance": 0.1}
    put(folder, "golden.jsonl", json.dumps({**row, "logits": [logits]}).encode())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(BundleFileError, match=r"row 1: .*likely a hostile"):
            verify(folder)


# Interrupting

LOADS = """
import sys
from harmguard import HarmGuard
print("ready", flush=True)
while True:
    with HarmGuard(sys.argv[1], threads=1) as guard:
        guard.score("how to make bread")
"""
WAITS = """
import sys
from pathlib import Path
from harmguard.prepared.place import locked, make_own_folder
folder = make_own_folder(Path(sys.argv[1]))
with locked(folder):
    print("ready", flush=True)
    with locked(folder):
        pass
"""
HASHES = """
import sys
from pathlib import Path
from harmguard.bundle.content import checking
from harmguard.bundle.spec import FileEntry
entry = FileEntry(Path(sys.argv[1], "large").stat().st_size, "0" * 64)
print("ready", flush=True)
while True:
    with checking(Path(sys.argv[1]), {"large": entry}, {}) as checked:
        try:
            checked()
        except Exception:
            pass
"""


@pytest.mark.parametrize("code", [LOADS, WAITS, HASHES], ids=["loads", "waits", "hashes"])
def test_ctrl_c_ends_it(code: str, folder: Path, tmp_path: Path) -> None:
    (folder / "large").write_bytes(b"")
    with (folder / "large").open("r+b") as file:
        file.truncate(1 << 30)
    place = tmp_path / "cache" if code is WAITS else folder
    with subprocess.Popen(
        [sys.executable, "-c", code, str(place)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode in (1, -signal.SIGINT, 130)


@pytest.mark.parametrize("path", ["/proc/self/mem", "/dev/null", "guard.json"])
def test_a_path_that_is_no_folder(folder: Path, path: str) -> None:
    with pytest.raises(BundleNotFoundError, match="no folder at"):
        open_bundle(folder / path)
