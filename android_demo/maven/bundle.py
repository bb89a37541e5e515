"""Lay a guard out as an app's assets, every byte checked: what Gradle's task `bundleAssets` does.

    python3 maven/bundle.py BUNDLE ASSETS [NAME]

The manifest must have the sha256 in gradle.properties, and every file the one in the manifest.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sys
from pathlib import Path

PROPERTIES = Path(__file__).resolve().parent.parent / "gradle.properties"


def main(bundle: Path, assets: Path, name: str = "harmguard/mini") -> None:
    """Check the bundle and put its files under `assets`/`name`."""
    pinned = re.search(r"^harmguard\.bundle\.sha256=(\w+)$", PROPERTIES.read_text(), re.MULTILINE)
    manifest = (bundle / "guard.json").read_bytes()
    found = hashlib.sha256(manifest).hexdigest()
    if pinned is None or found != pinned[1]:
        raise SystemExit(f"{bundle}/guard.json has sha256 {found}; gradle.properties has another")
    files = {name: one["sha256"] for name, one in json.loads(manifest)["files"].items()}
    target = assets / name
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for file, expected in {"guard.json": found, **files}.items():
        content = (bundle / file).read_bytes()
        if hashlib.sha256(content).hexdigest() != expected:
            raise SystemExit(f"{bundle}/{file} is not what the manifest says")
        (target / file).write_bytes(content)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
