"""The character tables of android_demo/core are those of the installed tokenizers library."""

from __future__ import annotations

from bisect import bisect_right
from importlib.metadata import version
from random import Random

import pytest

from scripts import make_android_tables as make

SECTIONS = dict(line.split(" ", 1) for line in make.OUT.read_text(encoding="ascii").splitlines())
# Some of all 1.1 million, and the first, where most texts are; `--check` takes a minute for all.
SAMPLE = sorted({*range(0x700), *Random(5).sample(make.POINTS, 3000)})

MADE_WITH = make.OUT.read_text(encoding="ascii").partition("\n")[0].rstrip(".").rpartition(" ")[2]
other_unicode = pytest.mark.skipif(
    version("tokenizers") != MADE_WITH, reason=f"the tables are those of tokenizers {MADE_WITH}"
)


def run_at(name: str) -> dict[int, str]:
    """The value that a list of runs has for each of the sample."""
    parts = [part.split(":") for part in SECTIONS[name].split(" ")]
    starts = [int(start, 16) for start, _ in parts]
    return {cp: parts[bisect_right(starts, cp) - 1][1] for cp in SAMPLE}


def table(name: str) -> dict[int, str]:
    """A table's results for the sample."""
    pairs = (part.split(":") for part in SECTIONS[name].split(" "))
    found = {int(cp, 16): "".join(chr(int(c, 16)) for c in text.split("+")) for cp, text in pairs}
    return {cp: found[cp] for cp in SAMPLE if cp in found}


@other_unicode
def test_the_bits_are_what_each_step_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make, "POINTS", SAMPLE)
    found = dict(zip(SAMPLE, make.flags(), strict=True))
    assert found == {cp: int(bits, 16) for cp, bits in run_at("flags").items()}


@other_unicode
def test_graphemes_are_the_librarys() -> None:
    assert {cp: make.cluster(chr(cp)) for cp in SAMPLE} == run_at("cluster")


@other_unicode
def test_cases_and_decompositions_are_the_librarys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make, "POINTS", SAMPLE)
    nfd, nfkd = make.mapped(make.NFD), make.mapped(make.NFKD)
    assert make.mapped(make.bert(lowercase=True)) == table("lower")
    assert nfd == table("nfd")
    assert {cp: text for cp, text in nfkd.items() if nfd.get(cp) != text} == table("nfkd")
    composed = {int(cp, 16) for cp in SECTIONS["composed"].split(" ")}
    assert set(make.composed(nfd)) == composed & set(SAMPLE)


def test_marks_change_places_as_the_library_has_it() -> None:
    ranks = {cp: int(rank, 16) for cp, rank in run_at("order").items()}
    movable = [cp for cp in SAMPLE if ranks[cp]]
    assert len(movable) > 100
    for one, other in zip(movable, reversed(movable), strict=True):
        text = f"a{chr(one)}{chr(other)}"
        moves = ranks[one] > ranks[other]
        assert make.NFD(text) == (f"a{chr(other)}{chr(one)}" if moves else text)
