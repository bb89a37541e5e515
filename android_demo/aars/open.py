"""Unpack AndroidX's artifacts: classes for the class path, the rest of an AAR beside.

    python3 open.py TARGET

TARGET/app/*.{aar,jar} -> TARGET/classes, TARGET/open/NAME (res, R.txt, manifest, rules)
TARGET/test/*          -> TARGET/test-classes, TARGET/test-open/NAME
"""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path
from zipfile import ZipFile

# Of several jars each has its own: they would overwrite one another, and nothing reads them.
_NOT_CLASSES = ("META-INF/MANIFEST.MF", "META-INF/versions/", "META-INF/com/android/", "LICENSE")


def main(target: Path) -> None:
    """Unpack both lists, unless neither changed since the last time."""
    for source, classes, rest in (
        ("app", "classes", "open"),
        ("test", "test-classes", "test-open"),
    ):
        files = sorted((target / source).iterdir())
        names = "\n".join(f"{file.name} {file.stat().st_size}" for file in files)
        stamp = target / f"{rest}.txt"
        if stamp.is_file() and stamp.read_text() == names:
            continue
        for folder in (target / classes, target / rest):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        for file in files:
            unpack(file, target / classes, target / rest)
        stamp.write_text(names)


def unpack(file: Path, classes: Path, rest: Path) -> None:
    """Unpack one artifact."""
    if file.suffix == ".jar":
        take_classes(ZipFile(file), classes)
        return
    with ZipFile(file) as archive:
        for name in archive.namelist():
            if name == "classes.jar" or (name.startswith("libs/") and name.endswith(".jar")):
                take_classes(ZipFile(io.BytesIO(archive.read(name))), classes)
            else:
                archive.extract(name, rest / file.stem)


def take_classes(jar: ZipFile, classes: Path) -> None:
    """Unpack a jar."""
    with jar:
        jar.extractall(
            classes, [name for name in jar.namelist() if not name.startswith(_NOT_CLASSES)]
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
