"""Write every attack as a folder, and errors.json with the name of the error that refuses it."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from tests.attacks import ATTACKS, BASE, make


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.attacks", description=__doc__)
    parser.add_argument("out", type=Path, metavar="OUT", help="a new folder")
    out = parser.parse_args().out
    out.mkdir(parents=True)
    shutil.copytree(BASE, out / "accepted")
    for name, attack in ATTACKS.items():
        make(attack, out / name)
    said = {
        name: {"error": attack.error.__name__, "when": attack.when}
        for name, attack in sorted(ATTACKS.items())
    }
    (out / "errors.json").write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
