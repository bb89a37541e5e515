"""benchmarks.training.families: the table of docs/checkpoints.md is what its commands say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.training import families

PAGE = Path(__file__).resolve().parents[2] / "docs" / "checkpoints.md"


def listed() -> dict[str, str]:
    """The lines of the page's table, by family."""
    text = PAGE.read_text(encoding="utf-8")
    part = text.partition("<!-- families -->")[2].partition("<!-- /families -->")[0]
    lines = part.strip().splitlines()
    assert "\n".join(lines[:2]) == families.HEAD
    return {line.split("|")[1].strip(): line for line in lines[2:]}


def test_the_table_has_every_family_and_each_works_or_is_refused_by_name() -> None:
    found = listed()
    assert list(found) == [family.name for family in families.FAMILIES]
    assert len(found) >= 24
    for line in found.values():
        for cell in (part.strip() for part in line.split("|")[2:-1]):
            assert re.fullmatch(r"yes|-|(\w+Error): .+", cell), cell


def test_a_refused_family_has_the_error_in_its_line(tmp_path: Path) -> None:
    (family,) = (family for family in families.FAMILIES if family.name == "FNet")
    assert families.line(family, families.outcomes(family, tmp_path)) == listed()["FNet"]


@pytest.mark.slow
@pytest.mark.parametrize("family", families.FAMILIES, ids=lambda family: family.name)
# The deprecations of others are left out by the commands; some come while models are made.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_every_line_is_what_the_commands_say(tmp_path: Path, family: families.Family) -> None:
    assert families.line(family, families.outcomes(family, tmp_path)) == listed()[family.name]
