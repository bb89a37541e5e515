from __future__ import annotations

import json
import shlex
import shutil
import sys
from pathlib import Path

import pytest
import torch
from harmguard_export import export
from harmguard_export.quantization.recipe import load_recipe
from harmguard_export.sensitivity import find_recipe
from safetensors.torch import load_file, save_file

from harmguard.bundle import open_bundle
from harmguard.cli import main
from harmguard.errors import MissingExtraError, OutputExistsError, ParityError, RecipeError


@pytest.fixture(scope="module")
def uneven(tiny_deberta: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny DeBERTa whose second feed-forward moves the scores, which are far from .5, most."""
    folder = Path(shutil.copytree(tiny_deberta, tmp_path_factory.mktemp("uneven") / "model"))
    tensors = load_file(folder / "model.safetensors")
    tensors["deberta.encoder.layer.1.intermediate.dense.weight"] *= 5
    tensors["deberta.encoder.layer.1.output.dense.weight"] *= 5
    tensors["classifier.bias"] += torch.tensor([0.0, 3.0])
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


def recipe_file(folder: Path, limit: float) -> str:
    value = load_recipe("int4").to_json()
    value["limits"] = {**value["limits"], "logit_rms_error": limit}
    (folder / "strict.json").write_text(json.dumps(value))
    return str(folder / "strict.json")


def test_the_worst_layers_are_promoted_until_the_gate_passes(
    uneven: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(uneven, "deberta")
    recipe_file(tmp_path, 0.03)
    assert main(["sensitivity", "--help"]) == 0
    line = capsys.readouterr().out.split("examples:\n  harmguard ")[1].splitlines()[0]
    assert main(shlex.split(line)) == 0
    assert capsys.readouterr().out == "sensitive\n"
    out = tmp_path / "sensitive"
    report = json.loads((out / "sensitivity.json").read_text())
    errors = {row["layer"]: row["error"] for row in report["layers"]}
    assert len(errors) == 8
    assert max(errors, key=lambda name: errors[name]) in ("1.up", "1.down")
    assert report["tries"][0]["missed"]
    assert report["tries"][-1]["missed"] == []
    assert (out / "sensitivity.png").read_bytes().startswith(b"\x89PNG")
    recipe = load_recipe(str(out / "recipe.json"))
    assert set(recipe.reasons) == set(recipe.layers)
    assert max(errors, key=lambda name: errors[name]) in recipe.layers
    bundle = open_bundle(export(uneven, tmp_path / "bundle", recipe=str(out / "recipe.json")))
    assert bundle.manifest.precision.parity is not None
    assert any("alone it moves" in text for text in bundle.manifest.precision.exceptions)


def test_the_export_with_given_pairs_measures_what_the_search_did(
    uneven: Path, tmp_path: Path
) -> None:
    words = (("bake bread", "with fresh milk"), ("red garden", None), ("milk", "bread"))
    pairs = tmp_path / "pairs.jsonl"
    lines = [json.dumps({"prompt": a, "response": b}) for a, b in words * 5]
    pairs.write_text("\n".join(lines), encoding="utf-8")
    strict = recipe_file(tmp_path, 0.05)
    out = find_recipe(uneven, tmp_path / "report", recipe=strict, pairs=pairs)
    report = json.loads((out / "sensitivity.json").read_text())
    recipe = str(out / "recipe.json")
    bundle = open_bundle(export(uneven, tmp_path / "bundle", recipe=recipe, pairs=pairs))
    parity = bundle.manifest.precision.parity
    assert parity is not None
    assert parity["pairs"] == 15
    assert parity.items() <= report["tries"][-1].items()


def test_a_gate_that_nothing_passes(uneven: Path, tmp_path: Path) -> None:
    with pytest.raises(ParityError, match="with every layer in fp32"):
        find_recipe(uneven, tmp_path / "report", recipe=recipe_file(tmp_path, 0.0))
    assert [path.name for path in tmp_path.iterdir()] == ["strict.json"]


def test_what_cannot_be_measured(
    tiny_checkpoint: Path, uneven: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(OutputExistsError, match="expected a new path"):
        find_recipe(uneven, tmp_path)
    with pytest.raises(RecipeError, match="'fp32' rounds no layer"):
        find_recipe(tiny_checkpoint, tmp_path / "report", recipe="fp32")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match="needs matplotlib"):
        find_recipe(uneven, tmp_path / "report")
