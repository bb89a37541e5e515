"""benchmarks._machine and _memory: parsing of what Linux says, and honesty where nothing does."""

from __future__ import annotations

import json
import sys
import time

import pytest

from benchmarks import _machine, _memory

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
    model, features = _machine.cpu(X86)
    assert model == "Some CPU @ 2.00GHz"
    assert features == ["avx", "avx2", "fma", "avx512f", "avx512_vnni", "amx_int8"]


def test_arm_cpuinfo_names_no_model() -> None:
    assert _machine.cpu(ARM) == (None, ["asimd", "asimddp", "i8mm", "bf16"])


def test_nothing_is_guessed_without_cpuinfo() -> None:
    assert _machine.cpu(None) == (None, None)
    assert _machine.memory_mb(None) is None
    assert _machine.cpu_quota(None) is None


def test_container_quota() -> None:
    assert _machine.cpu_quota("150000 100000\n") == 1.5
    assert _machine.cpu_quota("max 100000\n") is None


def test_installed_memory() -> None:
    assert _machine.memory_mb("MemTotal:       24689432 kB\nMemFree: 1 kB\n") == 24110


def test_description_is_json() -> None:
    found = json.loads(json.dumps(_machine.describe(), allow_nan=False))
    assert found["packages"]["numpy"]
    assert found["cores"] >= 1


def test_anonymous_memory_is_read_from_status() -> None:
    assert _memory.anonymous_mb("VmRSS:\t 9000 kB\nRssAnon:\t    2048 kB\n") == 2.0
    assert _memory.anonymous_mb("VmRSS:\t 9000 kB\n") is None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells anonymous memory")
def test_peak_sees_memory_that_is_freed_again() -> None:
    before = _memory.anonymous_mb()
    assert before is not None
    with _memory.Peak() as peak:
        block = bytearray(64 << 20)
        block[::4096] = b"x" * len(block[::4096])
        while (peak.mb or 0.0) < before + 60:
            time.sleep(0.005)
        del block
    assert peak.mb is not None
    assert peak.mb >= before + 60
