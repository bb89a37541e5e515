"""Resources, assets and manifest to an APK without code, and R classes, by aapt2.

    python3 maven/link.py --android JAR --manifest XML --out APK [--java DIR] [--assets DIR]
                          [--res DIR] [--aars DIR] [--compressed DIR]

aapt2 is $AAPT2, or the one on PATH. `--aars` holds unpacked AARs (aars/open.py). A guard's files
are stored as they are, those of `--compressed` are not: assets of the same name, for a test.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

AAPT2 = os.environ.get("AAPT2") or "aapt2"


def main() -> None:
    """Compile all resources, and link them."""
    made = argparse.ArgumentParser(description=__doc__)
    for name in ("android", "manifest", "out", "java", "assets", "res", "aars", "compressed"):
        made.add_argument(f"--{name}", type=Path)
    given = made.parse_args()
    flat = given.out.with_suffix(".flat")
    flat.mkdir(parents=True, exist_ok=True)
    libraries = sorted(given.aars.iterdir()) if given.aars else []
    compiled = [compile_folder(one / "res", flat) for one in libraries if (one / "res").is_dir()]
    compiled += [compile_folder(given.res, flat, again=True)] if given.res else []
    command = [AAPT2, "link", "-o", given.out, "--manifest", given.manifest, "-I", given.android]
    command += ["--auto-add-overlay", "--min-sdk-version", "26", "--target-sdk-version", "34"]
    command += ["--version-code", "1", "--version-name", "0.1.0"]
    command += ["--no-compress-regex", r"\.(onnx|data|json|jsonl)$"]
    command += ["-A", given.assets] if given.assets else []
    if given.java:
        shutil.rmtree(given.java, ignore_errors=True)
        packages = {package_of(one) for one in libraries if has_resources(one)}
        command += ["--proguard", given.out.with_name("manifest.pro")]
        command += ["--java", given.java, "--extra-packages", ":".join(sorted(packages))]
    for one in compiled:
        command += ["-R", one]
    subprocess.run(command, check=True)
    if given.compressed:
        with ZipFile(given.out, "a", ZIP_DEFLATED, compresslevel=1) as apk:
            for file in sorted(given.compressed.iterdir()):
                apk.write(file, f"assets/{given.compressed.name}/{file.name}")


def compile_folder(resources: Path, flat: Path, again: bool = False) -> Path:
    """Compile a folder of resources, once unless `again`."""
    name = "own" if again else resources.parent.name
    target = flat / f"{name}.zip"
    if again or not target.is_file():
        subprocess.run([AAPT2, "compile", "--dir", resources, "-o", target], check=True)
    return target


def has_resources(library: Path) -> bool:
    """Whether an AAR needs an R class."""
    table = library / "R.txt"
    return table.is_file() and table.stat().st_size > 0


def package_of(library: Path) -> str:
    """The package of an AAR."""
    found = re.search(r'package="([^"]+)"', (library / "AndroidManifest.xml").read_text())
    if found is None:
        raise SystemExit(f"{library} has no package")
    return found[1]


if __name__ == "__main__":
    main()
