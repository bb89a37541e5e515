"""This x86 processor with features hidden from onnxruntime: the older kernels at full speed.

    python -m benchmarks masked_cpu FOLDER
    python -m benchmarks portability BUNDLE --cpu "AVX2=FOLDER/avx2-python"

Emulators have no AVX-512, and their seconds mean nothing. Here a copy of onnxruntime in FOLDER has
each cpuid instruction replaced by one that traps, and a library that is loaded before it answers
without the hidden features. Needs Linux on x86-64, objdump and a C compiler (cc). The copy is for
measurements on this machine only.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.harness.command import Script
from benchmarks.harness.errors import EnvironmentMissingError
from benchmarks.harness.results import INPUTS, say

CPUID, TRAP = b"\x0f\xa2", b"\x0f\x0b"
# AMX in bfloat16, its tiles, and in int8: newer than both.
_AMX = {"MASK_7_EDX": sum(1 << bit for bit in (22, 24, 25))}
_VNNI = {"MASK_7_ECX": 1 << 11, "MASK_71_EAX": 1 << 4, **_AMX}
# F, DQ, IFMA, CD, BW and VL; then VBMI, VBMI2, VNNI, BITALG and VPOPCNTDQ; then VNNI and BF16.
_AVX512 = {
    "MASK_7_EBX": sum(1 << bit for bit in (16, 17, 21, 28, 30, 31)),
    "MASK_7_ECX": sum(1 << bit for bit in (1, 6, 11, 12, 14)),
    "MASK_71_EAX": 1 << 4 | 1 << 5,
    **_AMX,
}
MASKS = {"avx512-python": _VNNI, "avx2-python": _AVX512}
"""Command -> the bits it hides: VNNI and AMX alone, or all of AVX-512 as well."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """FOLDER."""
    parser.add_argument("folder", type=Path, help="a new folder, of about 100 MB")


def run(options: argparse.Namespace) -> int:
    """Make the commands in FOLDER and print them."""
    for path in make(options.folder.resolve()):
        print(path)
    return 0


def make(folder: Path) -> list[Path]:
    """The commands of MASKS in `folder`, which must not exist.

    Raises EnvironmentMissingError where a tool is missing or fails, or there is nothing to mask.
    """
    spec = importlib.util.find_spec("onnxruntime")
    if spec is None or spec.origin is None:
        raise EnvironmentMissingError("onnxruntime is not installed; expected it in this Python")
    try:
        shutil.copytree(Path(spec.origin).parent, folder / "onnxruntime")
        count = sum(trap(path) for path in (folder / "onnxruntime").glob("capi/*pybind11*.so"))
        library = folder / "mask_cpu.so"
        source = INPUTS / "mask_cpu.c"
        compiler = ["cc", "-O2", "-shared", "-fPIC", "-o", str(library), str(source)]
        subprocess.run(compiler, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise EnvironmentMissingError(
            f"no masked onnxruntime ({type(error).__name__}: {error}); expected a new folder, "
            "objdump and cc; likely the packages binutils and gcc are missing"
        ) from None
    if count == 0:
        raise EnvironmentMissingError("no cpuid in onnxruntime; expected Linux on x86-64")
    say(f"{count} cpuid instructions replaced")
    return [_command(folder, name, library) for name in MASKS]


def trap(path: Path) -> int:
    """Replace each cpuid of a shared library by ud2; how many."""
    tool = ["objdump", "-d", "-h", "-w", "--no-show-raw-insn", str(path)]
    code = bytearray(path.read_bytes())
    count = 0
    sections = []
    with subprocess.Popen(tool, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if match := re.match(r"\s*\d+ \S+\s+(\w+)\s+(\w+)\s+\w+\s+(\w+)\s", line):
                sections.append([int(value, 16) for value in match.groups()])
            elif match := re.match(r"\s*([0-9a-f]+):\s+cpuid\b", line):
                address = int(match[1], 16)
                for size, start, offset in sections:
                    place = address - start + offset
                    if start <= address < start + size and code[place : place + 2] == CPUID:
                        code[place : place + 2] = TRAP
                        count += 1
                        break
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, tool)
    path.write_bytes(code)
    return count


def _command(folder: Path, name: str, library: Path) -> Path:
    masks = " ".join(f"{key}={bits:x}" for key, bits in MASKS[name].items())
    path = folder / name
    path.write_text(
        "#!/bin/sh\n"
        f"export {masks} LD_PRELOAD={shlex.quote(str(library))}\n"
        f"export PYTHONPATH={shlex.quote(str(folder))}${{PYTHONPATH:+:$PYTHONPATH}}\n"
        f'exec {shlex.quote(sys.executable)} "$@"\n'
    )
    path.chmod(0o755)
    return path


COMMAND = Script(__name__, arguments, run)
