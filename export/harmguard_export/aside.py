"""Where an export makes its files before the finished bundle is renamed."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def folder_aside(out: Path) -> Iterator[Path]:
    """A new hidden folder beside `out`, removed at the end; those of killed exports go too."""
    out.parent.mkdir(parents=True, exist_ok=True)
    _sweep(out)
    prefix = f".{out.name}.export-{os.getpid()}-"
    with tempfile.TemporaryDirectory(prefix=prefix, dir=out.parent) as aside:
        yield Path(aside)


def _sweep(out: Path) -> None:
    """Remove what killed exports to `out` have left: their folders name their process."""
    name = re.compile(re.escape(f".{out.name}.export-") + r"(\d+)-\w+")
    for folder in out.parent.iterdir():
        found = name.fullmatch(folder.name)
        if found and not _runs(int(found[1])):
            shutil.rmtree(folder, ignore_errors=True)


def _runs(process: int) -> bool:
    if os.name != "posix":
        return True  # Windows has no harmless signal; a folder left is better than one taken away
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
