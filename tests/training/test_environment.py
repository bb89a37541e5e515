"""The pins for transformers 5, in whichever of the two environments this is, fit together."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path

import pytest
import transformers
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent.parent
PINS = [
    Requirement(line)
    for line in (ROOT / "constraints-transformers5.txt").read_text(encoding="utf-8").splitlines()
    if not line.startswith("#")
]
FIVE = transformers.__version__.startswith("5.")


def test_transformers_is_what_its_metadata_says() -> None:
    assert version("transformers") == transformers.__version__


@pytest.mark.skipif(not FIVE, reason="optimum-onnx fits this transformers")
def test_optimum_cannot_be_imported() -> None:
    assert find_spec("optimum") is None


@pytest.mark.parametrize("pin", PINS, ids=lambda pin: pin.name)
def test_what_a_package_needs_is_there(pin: Requirement) -> None:
    """Its pins are installed without looking at what they need."""
    try:
        assert not FIVE or version(pin.name) in pin.specifier
        needed = map(Requirement, requires(pin.name) or [])
    except PackageNotFoundError:
        assert not FIVE
        return
    for one in needed:
        if one.marker is None or one.marker.evaluate({"extra": ""}):
            assert one.specifier.contains(version(one.name), prereleases=True), str(one)
