from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from harmguard_export.quantization.recipe import load_recipe

from harmguard.errors import RecipeError


@pytest.mark.parametrize("name", ["fp32", "int8", "int4"])
def test_recipes_are_files_of_the_same_form(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(recipe.to_json()))
    assert load_recipe(str(path)) == recipe
    assert recipe.name == recipe.linear == name


def changed(tmp_path: Path, **changes: Any) -> str:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({**load_recipe("int8").to_json(), **changes}))
    return str(path)


def test_one_layer_goes_before_a_kind_and_a_kind_before_all(tmp_path: Path) -> None:
    recipe = load_recipe(changed(tmp_path, layers={"*.down": "fp32", "3.down": "int4"}))
    assert [recipe.precision(n) for n in ("0.up", "2.down", "3.down")] == ["int8", "fp32", "int4"]
    assert recipe.needs_activations
    assert not load_recipe("fp32").needs_activations


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"typo": 1}, "recipe fields .*typo"),
        ({"limits": 3}, "limits fields int"),
        ({"limits": {"flipped": 1}}, r"limits fields \['flipped'\]"),
        ({"headroom": "1"}, "headroom is '1'; expected a number"),
        ({"headroom": True}, "headroom is True; expected a number"),
        ({"linear": "int5"}, "linear is 'int5'; expected fp32, int8, int4"),
        ({"embeddings": "int4"}, "embeddings is 'int4'; expected fp32, int8"),
        ({"layers": ["3.down"]}, "layers is"),
        ({"layers": {"3.out": "fp32"}}, "expected names such as 3.down"),
        ({"layers": {"3.down": "fp8"}}, "3.down is 'fp8'"),
        ({"name": ""}, "text of name has not 1 to 200"),
        ({"reasons": {"3.down": "x"}}, "names are all in layers"),
        ({"layers": {"3.o": "fp32"}, "reasons": {"3.o": "x" * 201}}, "text of 3.o has not"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe(changed(tmp_path, **changes))


@pytest.mark.parametrize("content", ["", "[]", "{"])
def test_a_file_that_is_no_recipe(tmp_path: Path, content: str) -> None:
    (tmp_path / "mine.json").write_text(content)
    with pytest.raises(RecipeError, match="holds no JSON object"):
        load_recipe(str(tmp_path / "mine.json"))


def test_no_such_recipe(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="expected one of fp32, int4, int8, or a file"):
        load_recipe("int5")
    with pytest.raises(RecipeError, match="no recipe file"):
        load_recipe(str(tmp_path / "none.json"))
