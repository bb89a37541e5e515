"""For PyInstaller: where the hook is that puts the embedded guard into a frozen program."""

from __future__ import annotations

from pathlib import Path


def get_hook_dirs() -> list[str]:
    """The folder of the hook; PyInstaller asks for it by the entry point `pyinstaller40`."""
    return [str(Path(__file__).parent)]
