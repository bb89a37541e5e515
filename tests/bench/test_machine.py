"""harmguard.bench.machine and memory: parsing of what systems say, honesty where none does."""

from __future__ import annotations

import json
import os
import struct
import sys
import time
from pathlib import Path

import pytest

from harmguard.bench import machine, memory
from harmguard.errors import MemoryUnreadableError

X86 = """processor\t: 0
vendor_id\t: GenuineIntel
model name\t: Some CPU @ 2.00GHz
flags\t\t: fpu sse avx avx2 fma avx512f avx512_vnni amx_int8

processor\t: 1
model name\t: Some CPU @ 2.00GHz
flags\t\t: fpu sse avx avx2 fma avx512f avx512_vnni amx_int8
"""
ARM = """processor\t: 0
BogoMIPS\t: 50.00
Features\t: fp asimd asimddp i8mm bf16 crc32
CPU part\t: 0xd4f
"""


def test_x86_cpuinfo() -> None:
    model, features = machine.cpu(X86)
    assert model == "Some CPU @ 2.00GHz"
    assert features == ["avx", "avx2", "fma", "avx512f", "avx512_vnni", "amx_int8"]


def test_arm_cpuinfo_names_no_model() -> None:
    assert machine.cpu(ARM) == (None, ["asimd", "asimddp", "i8mm", "bf16"])


def test_nothing_is_guessed_without_cpuinfo() -> None:
    assert machine.cpu(None) == (None, None)
    assert machine.memory_mb(None) is None
    assert machine.limit_mb(None) is None


def test_installed_memory() -> None:
    assert machine.memory_mb("MemTotal:       24689432 kB\nMemFree: 1 kB\n") == 24110


def test_description_is_json() -> None:
    found = json.loads(json.dumps(machine.describe(), allow_nan=False))
    assert found["packages"]["numpy"]
    assert found["cores"] >= 1
    assert set(found["features"] or []) <= set(found["features_asked"] or [])


def test_container_limit() -> None:
    assert machine.limit_mb("536870912\n") == 512
    assert machine.limit_mb("max\n") is None
    assert machine.limit_mb("9223372036854771712\n") is None


def test_sysctl_of_macos() -> None:
    found = machine.sysctl("machdep.cpu.brand_string: Apple M2\nhw.optional.fma: 1\n")
    assert found == {"machdep.cpu.brand_string": "Apple M2", "hw.optional.fma": "1"}


def test_a_package_that_is_not_installed_has_no_version() -> None:
    assert machine.version("no-such-package") is None


def proc(folder: Path, status: str, rollup: str = "") -> Path:
    (folder / "status").write_text(status)
    (folder / "smaps_rollup").write_text(rollup)
    return folder


def test_memory_is_read_from_procfs(tmp_path: Path) -> None:
    status = "VmHWM:\t 9216 kB\nRssAnon:\t    2048 kB\nRssFile:\t 1024 kB\n"
    found = memory.of_process(proc(tmp_path, status, "Rss: 7 kB\nPss:    512 kB\n"))
    assert found == memory.Memory(anonymous=2.0, file=1.0, pss=0.5, peak=9.0)


def test_memory_that_is_not_told_is_unknown(tmp_path: Path) -> None:
    assert memory.of_process(proc(tmp_path, "VmRSS:\t 9000 kB\n")) == memory.Memory()
    assert memory.of_process(tmp_path / "nowhere") == memory.Memory()


def test_no_permission_is_an_error() -> None:
    if os.name != "posix":
        pytest.skip("folders without permission are a matter of POSIX")
    with pytest.raises(MemoryUnreadableError, match=r"no permission to read .*status; expected a"):
        memory.of_process(Refused("/proc/self"))


class Refused(type(Path())):  # type: ignore[misc]
    """A path that may not be read; root, whom tests may run as, is refused nothing else."""

    def read_text(self, *_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied")


def test_memory_of_macos_in_the_order_of_its_header() -> None:
    # virtual, regions and page size, resident and its peak, device and its, internal and its,
    # external and its, reusable and its, three purgeable ones, compressed.
    sizes = [0, 0, 3, 0, 0, 5, 0, 7, 0, 0, 0, 0, 0, 0, 2]
    raw = struct.pack("<Qii", 0, 0, 0) + struct.pack("<14Q", *(n << 20 for n in sizes[1:]))
    found = memory.from_task_vm_info(raw)
    assert found == memory.Memory(anonymous=7.0, file=7.0, pss=None, peak=3.0)
    assert memory.from_task_vm_info(raw[:40]) == memory.Memory()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells anonymous memory")
def test_peak_sees_memory_that_is_freed_again() -> None:
    before = memory.read().anonymous
    assert before is not None
    with memory.Peak() as peak:
        block = bytearray(64 << 20)
        block[::4096] = b"x" * len(block[::4096])
        while (peak.mb or 0.0) < before + 60:
            time.sleep(0.005)
        del block
    assert peak.mb is not None
    assert peak.mb >= before + 60
