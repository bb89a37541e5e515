from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from harmguard_export import export
from harmguard_export.graphs import writer
from harmguard_export.quantization.recipe import load_recipe
from safetensors.torch import load_file, save_file

from harmguard import HarmGuard
from harmguard.bundle import open_bundle
from harmguard.checkpoint import load_checkpoint
from harmguard.errors import (
    BundleFileError,
    CheckpointWarning,
    OutputExistsError,
    ParityError,
    RecipeError,
    TokenizerError,
)
from harmguard.runtime.session import Session
from harmguard.verify import verify


@pytest.fixture(scope="module")
def lively(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with larger weights, so that its logits tell texts apart."""
    folder = Path(shutil.copytree(tiny_checkpoint, tmp_path_factory.mktemp("lively") / "model"))
    tensors = load_file(folder / "model.safetensors")
    for name, tensor in tensors.items():
        if tensor.dim() == 2:
            tensors[name] = tensor * (10 if "embeddings" in name else 4)
        elif name.endswith("bias"):
            tensors[name] = torch.linspace(-0.3, 0.3, len(tensor))
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def fp32(lively: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(lively, tmp_path_factory.mktemp("fp32") / "bundle", recipe="fp32")


@pytest.fixture(scope="module")
def int8(lively: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(lively, tmp_path_factory.mktemp("int8") / "bundle", gate=False)


def random_batch(rows: int, length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ids, mask and types; the rows have different lengths, the last one is full."""
    random = np.random.default_rng(length)
    ids = random.integers(5, 40, (rows, length))
    mask = np.zeros_like(ids)
    for row in range(rows):
        mask[row, : max(1, length * (row + 1) // rows)] = 1
    return ids, mask, (np.arange(length) >= length // 2).astype(np.int64) * mask


def test_weights_in_files_of_a_size_that_repositories_take(
    lively: Path, fp32: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "PART_BYTES", 20_000)
    parts = export(lively, tmp_path / "parts", recipe="fp32")
    names = sorted(path.name for path in parts.glob("*.onnx.data"))
    assert names[:2] == ["model.2.onnx.data", "model.3.onnx.data"]
    assert names[-1] == "model.onnx.data"
    assert set(names) < set(json.loads((parts / "guard.json").read_text())["files"])
    assert [p for p in parts.glob("*.onnx.data") if p.stat().st_size > 20_000] == []
    verify(parts)
    with HarmGuard(parts) as several, HarmGuard(fp32) as one:
        assert several.score("how do i bake bread") == one.score("how do i bake bread")
    (parts / names[0]).unlink()
    with pytest.raises(BundleFileError, match=r"model.2.onnx.data is missing"):
        HarmGuard(parts)


@pytest.mark.parametrize("rows", [1, 5])
@pytest.mark.parametrize("length", [1, 2, 7, 31, 64])
def test_fp32_logits_are_torchs(lively: Path, fp32: Path, rows: int, length: int) -> None:
    ids, mask, types = random_batch(rows, length)
    model = load_checkpoint(lively).model
    with torch.inference_mode():
        expected = model(*map(torch.from_numpy, (ids, mask, types))).logits.numpy()
    found = Session(open_bundle(fp32), 1).run(ids, mask, types)
    assert np.abs(found - expected).max() < 1e-4


def test_int8_scores_do_not_depend_on_padding_or_neighbours(int8: Path) -> None:
    session = Session(open_bundle(int8), 1)
    ids, mask, types = random_batch(4, 40)
    together = session.run(ids, mask, types)
    for row in range(4):
        length = int(mask[row].sum())
        alone = session.run(*(array[row : row + 1, :length] for array in (ids, mask, types)))
        assert np.abs(alone - together[row]).max() < 1e-5


def test_a_plain_folder_passes_the_gate_without_further_argument(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    out = export(tiny_checkpoint, tmp_path / "bundle")
    assert open_bundle(out).manifest.precision.recipe == "int8"
    assert verify(out).worst < 0.05


def test_what_the_checkpoint_does_not_say_is_unknown(tiny_bundle: Path) -> None:
    manifest = open_bundle(tiny_bundle).manifest
    assert manifest.licence == manifest.base_model == manifest.training_recipe == "unknown"
    assert manifest.training_data is None
    assert manifest.status == "trial"
    assert manifest.output.temperature == 1
    point = manifest.thresholds["exchange"]["default"]
    assert (point.value, point.set, point.rule) == (0.5, None, "uncalibrated")
    assert manifest.precision.parity is not None
    assert manifest.precision.parity["pairs"] > 100
    assert "Unknown" in (tiny_bundle / "README.md").read_text()


def test_golden_pairs_replay_and_long_ones_are_listed(tiny_bundle: Path) -> None:
    report = verify(tiny_bundle)
    assert 0 < report.rows <= 64
    left_out = open_bundle(tiny_bundle).manifest.extensions["x_golden_left_out"]
    assert left_out
    assert "left out" in (tiny_bundle / "README.md").read_text()


def test_the_trainers_metadata_is_kept(lively: Path, tmp_path: Path) -> None:
    said = {
        "name": "mine",
        "version": "1.2",
        "status": "release",
        "licence": "Apache-2.0",
        "base_model": "tiny",
        "training": {
            "data": [{"source": "words", "licence": "CC0", "rows": 4}],
            "recipe": "by hand",
        },
    }
    languages = [
        {"lang": "", "rows": 1, "harmful": 0, "harmful_sources": []},
        {"lang": "de", "rows": 3, "harmful": 2, "harmful_sources": ["words"]},
    ]
    checkpoint = Path(shutil.copytree(lively, tmp_path / "checkpoint"))
    (checkpoint / "harmguard_training.json").write_text(
        json.dumps({**said, "languages": languages, "limits": "It reads words."})
    )
    out = export(checkpoint, tmp_path / "new" / "bundle", recipe="fp32")
    manifest = open_bundle(out).manifest.to_json()
    assert {name: manifest[name] for name in said} == said
    assert manifest["metrics"] == {"languages": languages}
    card = (out / "README.md").read_text()
    assert "| words | CC0 | 4 |" in card
    assert "| not given | 1 | 0 | none |\n| de | 3 | 2 | words |\n\n## Limits\n\nIt reads" in card


def test_two_exports_are_equal(lively: Path, int8: Path, tmp_path: Path) -> None:
    again = export(lively, tmp_path / "bundle", gate=False)
    files = sorted(path.name for path in int8.iterdir())
    assert files == sorted(path.name for path in again.iterdir())
    for name in files:
        assert (int8 / name).read_bytes() == (again / name).read_bytes(), name


@pytest.fixture
def fragile(lively: Path, tmp_path: Path) -> Path:
    """A model that int8 breaks: its classifier sees nothing but small differences."""
    folder = Path(shutil.copytree(lively, tmp_path / "fragile"))
    tensors = load_file(folder / "model.safetensors")
    tensors["classifier.weight"] *= 300
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


def test_the_gate_leaves_no_bundle(
    fragile: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ParityError, match="No bundle was written"):
        export(fragile, tmp_path / "bundle")
    assert [path.name for path in tmp_path.iterdir()] == ["fragile"]
    captured = capsys.readouterr()
    assert "MISSED" in captured.err
    assert captured.out == ""


def test_without_the_gate_the_manifest_says_so(fragile: Path, tmp_path: Path) -> None:
    out = export(fragile, tmp_path / "bundle", gate=False)
    assert open_bundle(out).manifest.precision.parity is None
    with pytest.warns(Warning, match="parity"), HarmGuard(out) as guard:
        assert 0 <= guard.score("how do i bake bread") <= 1


def test_pairs_of_ones_own_are_for_the_gate_only(lively: Path, tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    rows = [{"prompt": f"a private fool {i}", "label": i % 2} for i in range(10)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = export(lively, tmp_path / "bundle", recipe="fp32", pairs=path)
    parity = open_bundle(out).manifest.precision.parity
    assert parity is not None
    assert parity["pairs"] == 10
    assert parity["auprc_drop"] == 0
    assert "private" not in (out / "golden.jsonl").read_text()


def test_nothing_is_overwritten(tiny_checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputExistsError, match="nothing is overwritten"):
        export(tiny_checkpoint, tmp_path)
    with pytest.raises(RecipeError, match="expected one of"):
        export(tiny_checkpoint, tmp_path / "x", recipe="int5")


@pytest.fixture(scope="module")
def decided(tiny_deberta: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny DeBERTa with scores away from .5: a random model's decisions mean nothing."""
    folder = Path(shutil.copytree(tiny_deberta, tmp_path_factory.mktemp("decided") / "model"))
    tensors = load_file(folder / "model.safetensors")
    tensors["classifier.bias"] += torch.tensor([0.0, 1.5])
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.mark.parametrize(("recipe", "error"), [("fp32", 1e-3), ("int8", 0.01)])
def test_a_deberta_becomes_a_bundle(
    decided: Path, tmp_path: Path, recipe: str, error: float
) -> None:
    out = export(decided, tmp_path / "bundle", recipe=recipe)
    assert open_bundle(out).manifest.input.names == ("input_ids", "attention_mask")
    assert open_bundle(out).manifest.precision.recipe == recipe
    assert verify(out).worst < error


def test_a_recipe_file_with_choices_per_layer(decided: Path, tmp_path: Path) -> None:
    recipe = {**load_recipe("int4").to_json(), "name": "mine", "layers": {"*.down": "int8"}}
    # Of 32 channels, and logits that hardly differ, 4 bits leave a large part.
    recipe["limits"]["logit_rms_error"] = 0.5
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(recipe))
    precision = open_bundle(export(decided, tmp_path / "b", recipe=str(path))).manifest.precision
    assert (precision.recipe, precision.exceptions) == ("mine", ("*.down: int8",))


@pytest.mark.parametrize("recipe", ["int8", "int4"])
def test_what_goes_through_optimum_is_not_rounded(
    tiny_checkpoint: Path, tmp_path: Path, recipe: str
) -> None:
    folder = Path(shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint"))
    config = transformers.BertConfig.from_pretrained(folder, hidden_act="mish")
    transformers.BertForSequenceClassification(config).save_pretrained(folder)
    with pytest.raises(RecipeError, match=f"{recipe!r} for a bert; expected fp32.*hidden_act is"):
        export(folder, tmp_path / "bundle", recipe=recipe)


@pytest.mark.parametrize("family", ["tiny_checkpoint", "tiny_deberta"])
def test_a_head_with_one_output(
    family: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    folder = Path(shutil.copytree(request.getfixturevalue(family), tmp_path / "checkpoint"))
    tensors = load_file(folder / "model.safetensors")
    for name in ("classifier.weight", "classifier.bias"):
        tensors[name] = tensors[name][1:] - tensors[name][:1]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config |= {"id2label": {"0": "harmful"}, "label2id": {"harmful": 0}}
    (folder / "config.json").write_text(json.dumps(config))
    one = export(folder, tmp_path / "one", recipe="fp32")
    two = export(request.getfixturevalue(family), tmp_path / "two", recipe="fp32")
    pairs = [("how do i bake bread", None), ("you are a fool", "please")]
    with HarmGuard(one) as guard, HarmGuard(two) as other:
        assert np.allclose(guard.score_many(pairs), other.score_many(pairs), atol=1e-5)


def test_one_output_goes_through_optimum_as_two(tiny_checkpoint: Path, tmp_path: Path) -> None:
    pytest.importorskip("optimum.exporters.onnx")
    folder = Path(shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint"))
    config = transformers.BertConfig.from_pretrained(
        folder, id2label={0: "toxic"}, label2id={"toxic": 0}, hidden_act="mish"
    )
    torch.manual_seed(3)
    transformers.BertForSequenceClassification(config).save_pretrained(folder)
    out = export(folder, tmp_path / "bundle", recipe="fp32")
    expected = load_checkpoint(folder).score_many([("bread", None)])
    with HarmGuard(out) as guard:
        assert guard.score("bread") == pytest.approx(expected[0], abs=1e-5)


@pytest.mark.parametrize("activation", ["gelu", "relu"], ids=["own graph", "optimum"])
def test_labels_the_other_way_round_are_put_right_and_recorded(
    tiny_checkpoint: Path, tmp_path: Path, activation: str
) -> None:
    folder = Path(shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint"))
    path = folder / "config.json"
    about = {**json.loads(path.read_text()), "hidden_act": activation}
    path.write_text(json.dumps(about))
    right = load_checkpoint(folder).score_many([("bread", None)])
    about |= {"id2label": {"0": "toxic", "1": "ok"}, "label2id": {"toxic": 0, "ok": 1}}
    path.write_text(json.dumps(about))
    with pytest.warns(CheckpointWarning, match="the head's rows are swapped"):
        out = export(folder, tmp_path / "bundle", recipe="fp32")
    with HarmGuard(out) as guard:
        assert guard.score("bread") == pytest.approx(1 - right[0], abs=1e-5)
    manifest = json.loads((out / "guard.json").read_text())
    assert manifest["x_labels"] == {"names": ["toxic", "ok"], "harmful": "toxic", "how": "swapped"}
    assert manifest["labels"] == ["safe", "harmful"]


@pytest.mark.parametrize(
    ("family", "options", "inputs"),
    [
        ("Bert", {"type_vocab_size": 1}, 2),
        ("Bert", {"hidden_act": "mish"}, 3),
        ("Roberta", {}, 2),
        ("XLMRoberta", {}, 2),
        ("MPNet", {}, 2),
        ("ModernBert", {"cls_token_id": 2, "sep_token_id": 3, "eos_token_id": 3}, 2),
        # Traced with an `If` on lengths that are always equal, which a bundle may not hold.
        ("Deberta", {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]}, 2),
    ],
)
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # transformers' ModernBERT
def test_families(
    tiny_checkpoint: Path, tmp_path: Path, family: str, options: dict[str, Any], inputs: int
) -> None:
    traced = options.get("hidden_act") == "mish" or family == "Deberta"
    if traced:
        pytest.importorskip("optimum.exporters.onnx")
    folder = Path(shutil.copytree(tiny_checkpoint, tmp_path / family))
    sizes = json.loads((folder / "config.json").read_text())
    names = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads")
    kept = {name: sizes[name] for name in (*names, "intermediate_size", "pad_token_id")}
    torch.manual_seed(3)
    config = getattr(transformers, f"{family}Config")(
        **kept, max_position_embeddings=66, id2label={0: "safe", 1: "harmful"}, **options
    )
    model = getattr(transformers, f"{family}ForSequenceClassification")(config)
    model.save_pretrained(folder)
    for recipe, error in (("fp32", 1e-4), ("int8", 0.05))[: 1 if traced else 2]:
        out = export(folder, tmp_path / recipe, recipe=recipe)
        assert len(open_bundle(out).manifest.input.names) == inputs
        assert verify(out).worst < error


@pytest.mark.parametrize("missing", ["onnx", "torch", "tqdm", "transformers"])
def test_a_missing_extra_is_named(missing: str) -> None:
    code = (
        "import importlib.util as util; real = util.find_spec\n"
        f"util.find_spec = lambda name: None if name == {missing!r} else real(name)\n"
        "import harmguard_export"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "MissingExtraError" in done.stderr
    assert f"needs {missing}, not installed here" in done.stderr
    assert "pip install 'harmguard[export]'" in done.stderr


def test_what_a_killed_export_left_is_removed_by_the_next(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    stale, other = tmp_path / ".guard.01234567.part", tmp_path / ".other.01234567.part"
    for folder in (stale, other):
        (folder / "draft").mkdir(parents=True)
    export(tiny_checkpoint, tmp_path / "guard", recipe="fp32")
    assert sorted(path.name for path in tmp_path.iterdir()) == [other.name, "guard"]


@pytest.mark.parametrize(
    ("part", "step", "message"),
    [
        (
            "normalizer",
            {"type": "Replace", "pattern": {"Regex": "(a+)+$"}, "content": ""},
            "has Replace in normalizer with 'pattern' set",
        ),
        (
            "normalizer",
            {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"},
            "a Replace in normalizer that lengthens text",
        ),
        (
            "pre_tokenizer",
            {"type": "Sequence", "pretokenizers": [{"type": "Whitespace"}] * 40},
            "more than 32 steps",
        ),
    ],
)
def test_a_tokenizer_that_no_bundle_may_have_is_refused_before_anything_is_computed(
    tiny_checkpoint: Path, tmp_path: Path, part: str, step: dict[str, Any], message: str
) -> None:
    folder = Path(shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint"))
    fields = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    (folder / "tokenizer.json").write_text(json.dumps({**fields, part: step}), encoding="utf-8")
    with pytest.raises(TokenizerError, match=message):
        export(folder, tmp_path / "out", recipe="fp32")
    assert not (tmp_path / "out").exists()
