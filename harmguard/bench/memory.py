"""Memory of the calling process, as far as its system tells it without privileges."""

from __future__ import annotations

import ctypes
import re
import struct
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from harmguard.errors import MemoryUnreadableError

SAMPLE_S = 0.005
_MB = 1 << 20
_PROC = Path("/proc/self")


@dataclass(frozen=True)
class Memory:
    """MB of one process; None is what the system does not tell."""

    anonymous: float | None = None
    """Resident, and backed by no file: what the process alone costs."""
    file: float | None = None
    """Resident pages of files, which the system may drop and read again."""
    pss: float | None = None
    """Resident, pages that several processes share divided among them."""
    peak: float | None = None
    """The highest resident memory since the process began."""


def read() -> Memory:
    """Memory of this process now.

    Raises MemoryUnreadableError where the system has the figures and refuses them.
    """
    readers = {"linux": _linux, "darwin": _darwin}
    return readers.get(sys.platform, Memory)()


def _linux() -> Memory:
    return of_process(_PROC)


def of_process(proc: Path) -> Memory:
    """Memory of the process with this folder in procfs; unknown where there is none."""
    status, rollup = _text(proc / "status"), _text(proc / "smaps_rollup")
    return Memory(
        anonymous=_kb(status, "RssAnon"),
        file=_kb(status, "RssFile"),
        pss=_kb(rollup, "Pss"),
        peak=_kb(status, "VmHWM"),
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except PermissionError:
        raise MemoryUnreadableError(
            f"no permission to read {path}; expected a process to see its own memory; likely a "
            "sandbox, or a process that is marked as not dumpable"
        ) from None
    except OSError:  # procfs is not mounted, or an older kernel without the file
        return ""


def _kb(text: str, name: str) -> float | None:
    found = re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) / 1024 if found else None


def _darwin() -> Memory:
    """From task_info(TASK_VM_INFO) of the own task, which needs no entitlement."""
    library: Any = ctypes.CDLL("/usr/lib/libSystem.B.dylib")
    buffer = ctypes.create_string_buffer(1024)
    words = ctypes.c_uint32(len(buffer) // 4)
    task = ctypes.c_uint32.in_dll(library, "mach_task_self_")
    flavour = 22  # TASK_VM_INFO in <mach/task_info.h>
    if library.task_info(task, flavour, buffer, ctypes.byref(words)) != 0:
        raise MemoryUnreadableError(
            "task_info refused the memory of this process; expected a process to see its own; "
            "likely a sandbox"
        )
    return from_task_vm_info(buffer.raw[: 4 * words.value])


def from_task_vm_info(raw: bytes) -> Memory:
    """Memory from macOS's struct task_vm_info; unknown where it is shorter than expected."""
    fields = struct.Struct("<Qii14Q")
    if len(raw) < fields.size:
        return Memory()
    values = fields.unpack_from(raw)
    # In order: resident_size_peak, internal, external, and compressed, which was internal too.
    peak, internal, external, compressed = values[4], values[7], values[9], values[16]
    return Memory(
        anonymous=(internal + compressed) / _MB, file=external / _MB, pss=None, peak=peak / _MB
    )


class Peak:
    """Samples anonymous memory every 5 ms while the block runs; `mb` is the highest, or None."""

    def __init__(self) -> None:
        self.mb = read().anonymous
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Peak:
        if self.mb is not None:
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(SAMPLE_S):
            self.mb = max(self.mb or 0.0, _anonymous() or 0.0)


def _anonymous() -> float | None:
    # Not the whole of read(): smaps_rollup walks every page, at each of many samples.
    on_linux = _kb(_text(_PROC / "status"), "RssAnon")
    return read().anonymous if on_linux is None else on_linux
