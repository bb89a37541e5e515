"""Every attack that is written out for other readers is refused here, by its name."""

from __future__ import annotations

import filecmp
import json
import subprocess
import sys
from pathlib import Path

import pytest

from harmguard import HarmGuard
from harmguard.verify import verify
from tests.attacks import ATTACKS, BASE, make


def test_what_they_are_made_of_is_accepted() -> None:
    assert verify(BASE).rows == 9


@pytest.mark.parametrize("name", ATTACKS)
def test_refused(name: str, tmp_path: Path) -> None:
    attack = ATTACKS[name]
    folder = make(attack, tmp_path / "guard")
    read = verify if attack.when == "verify" else HarmGuard
    with pytest.raises(attack.error, match=attack.match) as caught:
        read(folder)
    message = str(caught.value)
    assert caught.type is attack.error
    assert "expected" in message or attack.when == "verify"
    assert "likely" in message
    assert message.isprintable(), "one line, and nothing that a terminal obeys"
    assert len(message) < 1000


def test_the_script_writes_the_same_twice(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    for name in ("first", "second"):
        command = [sys.executable, "-m", "tests.attacks", str(tmp_path / name)]
        subprocess.run(command, cwd=root, check=True, capture_output=True)
    said = json.loads((tmp_path / "first" / "errors.json").read_text())
    assert said.keys() == ATTACKS.keys()
    assert said["graph-unsafe-loop"] == {"error": "UnsafeGraphError", "when": "load"}
    for name in ("accepted", *ATTACKS):
        one, two = tmp_path / "first" / name, tmp_path / "second" / name
        names = sorted(path.name for path in one.iterdir() if path.is_file())
        assert filecmp.cmpfiles(one, two, names, shallow=False)[0] == names
