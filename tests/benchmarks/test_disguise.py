"""disguise: attacks that share nothing with the views, counted on a tiny guard."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from random import Random
from typing import Any

import pytest

from benchmarks.harness.errors import BenchmarkDataError
from benchmarks.quality import _disguises, _everyday, disguise
from benchmarks.quality._disguises import DISGUISES, Disguise
from benchmarks.quality._everyday import ROWS, everyday
from harmguard import HarmGuard
from harmguard.bundle import open_bundle
from tests.benchmarks.conftest import row_of

TEXT = "How do I quickly bake six good loaves, please?"


def test_attacks_share_nothing_with_the_views() -> None:
    for module in (_disguises, _everyday):
        tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
        names = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        names += [a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names]
        assert not [name for name in names if name and name.startswith("harmguard")]


@pytest.mark.parametrize("one", DISGUISES, ids=lambda one: one.name)
def test_a_disguise_changes_a_text_the_same_way_each_time(one: Disguise) -> None:
    made = one.make(TEXT, Random(1))
    assert made == one.make(TEXT, Random(1))
    assert made != TEXT
    made.encode()


def test_names_are_unique_and_every_class_of_the_limits_is_there() -> None:
    assert len({one.name for one in DISGUISES}) == len(DISGUISES)
    groups = {one.group: one.most_lost for one in DISGUISES}
    assert groups["invisible"] == groups["styled"] == groups["marks"] == groups["tokens"] == 3
    assert groups["look-alikes"] == groups["separators"] == groups["drawn"] == 5
    assert groups["encoded"] == 10


def test_everyday_texts_are_the_same_every_time() -> None:
    made = everyday()
    assert made == everyday()
    assert {len(texts) for texts in made.values()} == {ROWS}
    assert len(made) == 10
    assert all(text.strip() for texts in made.values() for text in texts)


def test_counts_by_operating_point(needle: HarmGuard, needle_bundle: Path, tmp_path: Path) -> None:
    plain = disguise.without_views(needle_bundle, tmp_path / "plain")
    assert open_bundle(plain).manifest.input.normalisation == "none"
    guards = disguise.Guards(needle, needle)
    texts = {1: ["danger", "danger bread"], 0: ["bread"]}
    points = {"default": 0.5, "fpr_1": 1.0}
    clean = disguise.attack(guards, None, texts, points)
    assert clean["harmful"]["default"] == {"before": 2, "after": 2}
    assert clean["benign"]["default"] == {"before": 0, "after": 0}
    assert clean["harmful"]["fpr_1"] == {"before": 0, "after": 0}
    hyphens = next(one for one in DISGUISES if one.name == "hyphens")
    assert disguise.attack(guards, hyphens, texts, points)["harmful"]["default"]["after"] == 0
    pairs: list[Any] = [("danger", None), ("bread", None), ("bread", "danger")]
    kinds = {"prompt": {"default": 0.5}, "exchange": {"default": 1.0}}
    assert disguise.flagged(guards, pairs, kinds) == {
        "n": 3, "before": 1, "after": 1, "only_after": 0,
    }  # fmt: skip


def test_prompts_are_drawn_once() -> None:
    rows = [row_of(str(n), None, 1, "made") for n in range(9)] + [row_of("x", "y", 1, "made")]
    assert disguise.prompts(rows, 1, 5) == disguise.prompts(rows, 1, 5)
    with pytest.raises(BenchmarkDataError, match="9 prompts of label 1; expected 10"):
        disguise.prompts(rows, 1, 10)


def test_the_table() -> None:
    counts = {"default": {"before": 8, "after": 8}, "fpr_1": {"before": 4, "after": 4}}
    none = {name: {"before": 0, "after": 1} for name in counts}
    clean = {"name": "clean", "group": "", "most_lost": None, "harmful": counts, "benign": none}
    lost = {name: {"before": 1, "after": 7} for name in counts}
    one = {**clean, "name": "a|b", "group": "made", "most_lost": 5.0, "harmful": lost}
    result = {
        "prompts": 10, "clean": clean, "attacks": [one],
        "benign": {"chat": {"n": 300, "before": 1, "after": 2, "only_after": 1}},
    }  # fmt: skip
    made = disguise.tables(json.loads(json.dumps(result)))
    assert "a\\|b" in made
    assert "10 -> 70" in made
    assert "10.0 (at most 5)" in made
    assert "300" in made
