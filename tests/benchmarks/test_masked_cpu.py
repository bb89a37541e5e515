"""masked_cpu: a copy of onnxruntime that sees fewer features than the processor has."""

from __future__ import annotations

import base64
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.harness.errors import EnvironmentMissingError
from benchmarks.harness.results import ROOT
from benchmarks.processors import masked_cpu, portability

linux_x86 = pytest.mark.skipif(
    sys.platform != "linux"
    or platform.machine() != "x86_64"
    or not (shutil.which("objdump") and shutil.which("cc")),
    reason="needs Linux on x86-64, objdump and a C compiler",
)


@pytest.mark.slow
@linux_x86
def test_hidden_features_are_not_used(tmp_path: Path) -> None:
    request = {
        "bundle": str(ROOT / "harmguard" / "models" / "mini"),
        "pairs": [["How do I bake bread?", None]],
        "threads": 1,
        "probe": base64.b64encode(portability.saturating_model()).decode(),
    }
    native = portability.ask(portability.Cpu("native", (sys.executable,)), request)
    for path in masked_cpu.make(tmp_path / "masked"):
        runs = portability.ask(portability.Cpu(path.name, (str(path),)), request)["runs"]
        assert runs["plain"]["probe"] == pytest.approx(0.506, abs=1e-3)
        assert runs["precise"]["probe"] == 1
        assert runs["plain"]["scores"] == pytest.approx(
            native["runs"]["plain"]["scores"], abs=portability.LIMIT
        )


@linux_x86
def test_every_cpuid_of_a_library_is_replaced(tmp_path: Path) -> None:
    source = tmp_path / "two.c"
    source.write_text(
        "int constant(void) { return 0xa20f; }\n"
        'void one(void) { __asm__ volatile("cpuid" ::: "eax", "ebx", "ecx", "edx"); }\n'
        'void two(void) { __asm__ volatile("cpuid" ::: "eax", "ebx", "ecx", "edx"); }\n'
    )
    library = tmp_path / "two.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    before = library.read_bytes()
    assert masked_cpu.trap(library) == 2
    after = library.read_bytes()
    changed = [i for i in range(len(before)) if before[i] != after[i]]
    assert len(changed) == 2
    assert all(after[i - 1 : i + 1] == masked_cpu.TRAP for i in changed)
    assert masked_cpu.trap(library) == 0


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "onnxruntime").mkdir()
    with pytest.raises(EnvironmentMissingError, match=r"FileExistsError.+expected a new folder"):
        masked_cpu.make(tmp_path)
    assert list(tmp_path.rglob("*")) == [tmp_path / "onnxruntime"]
