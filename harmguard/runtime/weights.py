"""The weights of a bundle in memory: no file that others may overwrite is left mapped.

onnxruntime maps the file of a weight until a kernel has packed it, and for good if none packs it.
The latter are read here, into memory that the session shares. Where it cannot be seen what is
left mapped (not Linux), or where a release takes no folder for the files of a model in memory,
all of them are read here, and onnxruntime copies them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harmguard.bundle import Bundle
from harmguard.bundle.graph_rules import Weight
from harmguard.bundle.regular import changed, open_regular

# Element types of ONNX that numpy has too; graph_rules lets no other lie in a file.
_TYPES = {
    1: "f4", 2: "u1", 3: "i1", 4: "u2", 5: "i2", 6: "i4", 7: "i8", 9: "?", 10: "f2", 11: "f8",
    12: "u4", 13: "u8",
}  # fmt: skip
_ALIGN = 64  # what vector instructions like best
_MAPS = Path("/proc/self/maps")

Arrays = dict[str, npt.NDArray[Any]]


def read_weights(bundle: Bundle, weights: Sequence[Weight]) -> Arrays:
    """The values of `weights` by name, in one piece of memory. BundleFileError if one is cut."""
    starts, size = [], 0
    for weight in weights:
        starts.append(size)
        size += -(-weight.length // _ALIGN) * _ALIGN
    memory = np.empty(size + _ALIGN, np.uint8)
    memory = memory[-memory.ctypes.data % _ALIGN :]
    arrays: Arrays = {}
    for location in sorted({weight.location for weight in weights}):
        with open_regular(bundle.folder, location) as file:
            for weight, start in zip(weights, starts, strict=True):
                if weight.location != location:
                    continue
                part = memory[start : start + weight.length]
                _fill(file.fileno(), part.data, weight)
                arrays[weight.name] = part.view(_TYPES[weight.kind]).reshape(weight.dims)
    return arrays


def _fill(descriptor: int, target: memoryview, weight: Weight) -> None:
    done = 0
    while done < weight.length:
        count = os.preadv(descriptor, [target[done:]], weight.offset + done)
        if count == 0:
            raise changed(weight.location)
        done += count


def can_see_maps() -> bool:
    """Whether `still_mapped` can tell."""
    return os.access(_MAPS, os.R_OK)


def still_mapped(paths: Iterable[Path]) -> bool:
    """Whether this process has a part of one of the files mapped."""
    # By name and by number: on layered file systems the numbers are those of another layer.
    names = {os.fsencode(os.path.realpath(path)) for path in paths}
    numbers = {(info.st_dev, info.st_ino) for info in map(os.stat, names)}
    with _MAPS.open("rb") as file:
        for line in file:
            _, _, _, device, inode, *rest = line.rstrip(b"\n").split(maxsplit=5)
            major, _, minor = device.partition(b":")
            number = os.makedev(int(major, 16), int(minor, 16)), int(inode)
            if number in numbers or (rest and rest[0].removesuffix(b" (deleted)") in names):
                return True
    return False
