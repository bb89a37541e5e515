from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from harmguard import HarmGuard
from harmguard.bundle import open_bundle
from harmguard.core.batch import Logits
from harmguard.core.encode import IntArray
from harmguard.errors import BundleFileError, UnsupportedVersionError
from harmguard.runtime.heap import release_memory
from harmguard.runtime.session import Session, _spinning

BundleMaker = Callable[..., Path]


def test_a_session_gives_float32_logits(small_bundle: Path) -> None:
    session = Session(open_bundle(small_bundle), threads=1)
    ids = np.array([[2, 5, 3, 0], [2, 6, 7, 3]], np.int64)
    mask = (ids != 0).astype(np.int64)
    logits = session.run(ids, mask, np.zeros_like(ids))
    assert logits.shape == (2, 2)
    assert logits.dtype == np.float32
    alone = session.run(ids[:1, :3], mask[:1, :3], np.zeros((1, 3), np.int64))
    assert alone == pytest.approx(logits[:1], abs=1e-5)


def test_the_number_of_threads_does_not_change_a_score(small_bundle: Path) -> None:
    with HarmGuard(small_bundle, threads=1) as one, HarmGuard(small_bundle, threads=2) as two:
        assert one.score("how to make bread") == pytest.approx(
            two.score("how to make bread"), abs=1e-6
        )


def test_a_graph_that_onnxruntime_cannot_load(make_bundle: BundleMaker) -> None:
    folder = make_bundle(operator="Swish")
    with pytest.raises(BundleFileError, match=r"model\.onnx cannot be loaded .*likely an operator"):
        HarmGuard(folder)


def test_an_onnxruntime_that_is_too_old(make_bundle: BundleMaker) -> None:
    folder = make_bundle(requires={"runtime": "onnxruntime", "opset": 18, "onnxruntime": "99.0"})
    with pytest.raises(UnsupportedVersionError, match=r"expected 99\.0 or newer"):
        HarmGuard(folder)


def test_releasing_memory_is_harmless() -> None:
    release_memory()


def test_the_largest_batch_comes_first_and_its_memory_goes_with_the_last(
    needle_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[tuple[int, bool]] = []
    run = Session.run

    def noted(
        self: Session, ids: IntArray, mask: IntArray, types: IntArray, *, shrink: bool
    ) -> Logits:
        runs.append((ids.shape[1], shrink))
        return run(self, ids, mask, types, shrink=shrink)

    monkeypatch.setattr("harmguard._scoring._SHORT_TOKENS", 32)
    monkeypatch.setattr("harmguard._scoring.MAX_BATCH_TOKENS", 40)
    monkeypatch.setattr(Session, "run", noted)
    with HarmGuard(needle_bundle) as guard:
        runs.clear()
        scores = guard.score_many([("kind " * 3, None), ("danger " * 36, None)] * 2)
        assert runs == [(40, False), (40, False), (8, True)]
        assert (scores > 0.5).tolist() == [False, True] * 2
        runs.clear()
        guard.score("kind " * 3)
        assert runs == [(8, False)]


@pytest.mark.parametrize(
    ("version", "entry"),
    [
        ("1.20.0", "session.force_spinning_stop"),
        ("1.31.9", "session.force_spinning_stop"),
        ("1.32.0", "session.intra_op.spin_duration_us"),
        ("1.100.1.dev3", "session.intra_op.spin_duration_us"),
        ("2.0", "session.intra_op.spin_duration_us"),
    ],
)
def test_spinning_ends_by_what_the_release_has(version: str, entry: str) -> None:
    assert _spinning(version)[0] == entry


REGISTERING = """
import sys
import onnxruntime as ort
from harmguard import HarmGuard
for kind in ("ORT_ARENA_ALLOCATOR", "ORT_DEVICE_ALLOCATOR"):
    place = ort.OrtMemoryInfo("Cpu", getattr(ort.OrtAllocatorType, kind), 0, ort.OrtMemType.DEFAULT)
    ort.create_and_register_allocator(place, ort.OrtArenaCfg({}))
    with HarmGuard(sys.argv[1], threads=1) as guard, HarmGuard(sys.argv[1], threads=1) as other:
        ort.create_and_register_allocator(place, ort.OrtArenaCfg({}))
        print(guard.score("how to make bread"), other.score("bread " * 300))
"""


def test_a_program_that_registers_allocators_of_its_own(small_bundle: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", REGISTERING, str(small_bundle)],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    with HarmGuard(small_bundle, threads=1) as guard:
        expected = f"{guard.score('how to make bread')} {guard.score('bread ' * 300)}\n"
    assert done.stdout == expected * 2


SCORE = """
import os, sys
os.environ["ORT_DISABLE_TELEMETRY"] = "0"
from harmguard import HarmGuard
with HarmGuard(sys.argv[1], threads=1) as guard:
    print(guard.score("how to make bread"))
assert os.environ["ORT_DISABLE_TELEMETRY"] == "0"
"""


def _run(command: list[str], bundle: Path, home: Path) -> None:
    # Where onnxruntime knows a CI, it keeps its telemetry off of itself.
    unset = ("CI", "GITHUB_ACTIONS", "XDG_CACHE_HOME", "XDG_DATA_HOME")
    environment = {key: value for key, value in os.environ.items() if key not in unset}
    subprocess.run(
        [*command, sys.executable, "-c", SCORE, str(bundle)],
        env={**environment, "HOME": str(home)},
        check=True,
        timeout=120,
    )


def test_onnxruntimes_telemetry_leaves_no_trace(small_bundle: Path, tmp_path: Path) -> None:
    _run([], small_bundle, tmp_path)
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.skipif(shutil.which("strace") is None, reason="no strace on this machine")
def test_no_internet_socket_is_opened_by_native_code(small_bundle: Path, tmp_path: Path) -> None:
    log, home = tmp_path / "log", tmp_path / "home"
    home.mkdir()
    _run(["strace", "-f", "-e", "trace=network", "-o", str(log)], small_bundle, home)
    assert "exited with 0" in log.read_text()
    assert "AF_INET" not in log.read_text()
