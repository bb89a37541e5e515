from __future__ import annotations

import filecmp
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("coremltools")

import torch
from harmguard_export.coreml import export_coreml, package, program
from harmguard_export.coreml.compress import pack
from harmguard_export.coreml.package_scorer import PackageScorer
from harmguard_export.coreml.targets import choose_lengths
from harmguard_export.coreml.torch_program import Evaluator, read_program

from harmguard import HarmGuard
from harmguard.bundle import open_bundle
from harmguard.bundle.manifest import seal
from harmguard.checkpoint import load_checkpoint
from harmguard.cli import main
from harmguard.errors import (
    BundleFileError,
    DeploymentTargetError,
    GoldenMismatchError,
    ProgramError,
    RecipeError,
    UnsafePathError,
    UnsupportedModelError,
    WrongRuntimeError,
)
from harmguard.prepared.prepare import prepare
from harmguard.verify import verify
from tests import processes

FILES = {
    "model.mlpackage/Manifest.json",
    "model.mlpackage/Data/com.apple.CoreML/model.mlmodel",
    "model.mlpackage/Data/com.apple.CoreML/weights/weight.bin",
}


@pytest.fixture(scope="module")
def bundles(
    tiny_checkpoint: Path, tiny_deberta: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """fp16 bundles: BERT for enumerated lengths, past its gate, and DeBERTa for a range.

    A score of the random DeBERTa lies so near to .5 that its decision flips.
    """
    folder = tmp_path_factory.mktemp("coreml")
    return {
        "bert": export_coreml(tiny_checkpoint, folder / "bert", recipe="fp16"),
        "deberta": export_coreml(
            tiny_deberta, folder / "deberta", recipe="fp16", target="iOS17", gate=False
        ),
    }


@pytest.fixture
def copy(bundles: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundles["bert"], tmp_path / "copy"))


def given(names: tuple[str, ...], ids: Any, length: int) -> dict[str, Any]:
    found = {name: np.zeros((1, length), np.int32) for name in names}
    found["input_ids"][0, : len(ids)] = ids
    found["attention_mask"][0, : len(ids)] = 1
    if "token_type_ids" in found:
        found["token_type_ids"][0, len(ids) // 2 : len(ids)] = 1
    return found


@pytest.mark.parametrize("family", ["bert", "deberta"])
@pytest.mark.parametrize("count", [1, 9, 32, 40, 64])
def test_the_saved_program_has_torchs_logits_whatever_the_padding(
    bundles: dict[str, Path],
    tiny_checkpoint: Path,
    tiny_deberta: Path,
    family: str,
    count: int,
) -> None:
    checkpoint = load_checkpoint(tiny_checkpoint if family == "bert" else tiny_deberta)
    evaluator = Evaluator(read_program(bundles[family] / package.NAME), half=False)
    ids = np.random.default_rng(count).integers(5, 40, count)
    alone = given(checkpoint.inputs, ids, count)
    with torch.inference_mode():
        inputs = {name: torch.from_numpy(array).long() for name, array in alone.items()}
        expected = checkpoint.model(**inputs).logits.numpy()
    length = 32 if count <= 32 else 64
    assert np.abs(evaluator(given(checkpoint.inputs, ids, length)) - expected).max() < 3e-3


@pytest.mark.parametrize(
    "fields",
    [
        {
            "conv_kernel_size": 3,
            "conv_act": "gelu",
            "share_att_key": False,
            "position_buckets": -1,
            "norm_rel_ebd": "none",
        },
        {
            "conv_kernel_size": 5,
            "conv_groups": 2,
            "num_hidden_layers": 1,
            "position_biased_input": True,
            "type_vocab_size": 2,
        },
    ],
    ids=["unshared", "groups"],
)
def test_variants_of_deberta_pass_both_checks(
    tiny_deberta: Path, tmp_path: Path, fields: dict[str, Any]
) -> None:
    from transformers import AutoConfig, DebertaV2ForSequenceClassification

    folder = Path(shutil.copytree(tiny_deberta, tmp_path / "checkpoint"))
    config = AutoConfig.from_pretrained(str(folder))
    config.update(fields)
    torch.manual_seed(3)
    DebertaV2ForSequenceClassification(config).save_pretrained(str(folder))
    out = export_coreml(folder, tmp_path / "bundle", recipe="fp16", lengths=(64,), gate=False)
    manifest = open_bundle(out).manifest
    assert manifest.input.lengths is not None
    assert manifest.input.lengths.values == (64,)  # one length is a fixed shape
    checkpoint = load_checkpoint(folder)
    evaluator = Evaluator(read_program(out / package.NAME), half=False)
    ids = np.random.default_rng(5).integers(5, 40, 50)
    alone = given(checkpoint.inputs, ids, len(ids))
    with torch.inference_mode():
        inputs = {name: torch.from_numpy(array).long() for name, array in alone.items()}
        expected = checkpoint.model(**inputs).logits.numpy()
    assert np.abs(evaluator(given(checkpoint.inputs, ids, 64)) - expected).max() < 3e-3


@pytest.mark.parametrize(
    ("family", "recipe", "fields"),
    [
        ("Roberta", "fp16", {}),
        ("DistilBert", "int8", {}),
        ("Electra", "fp16", {"embedding_size": 16}),
        ("MPNet", "fp16", {}),
        ("MPNet", "palette4", {"num_hidden_layers": 1}),
        ("MegatronBert", "fp16", {"type_vocab_size": 1}),
        ("MegatronBert", "int4", {}),
        ("Ernie", "fp16", {"use_task_id": True}),
    ],
)
def test_bert_like_families_pass_both_checks(
    tiny_checkpoint: Path, tmp_path: Path, family: str, recipe: str, fields: dict[str, Any]
) -> None:
    import transformers

    folder = Path(shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint"))
    torch.manual_seed(3)
    sizes = {
        "vocab_size": len(json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]),
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "pad_token_id": 0,
        "intermediate_size": 48, "max_position_embeddings": 66, "initializer_range": 0.2,
        "id2label": {0: "safe", 1: "harmful"}, "label2id": {"safe": 0, "harmful": 1},
    } | fields  # fmt: skip
    if family == "DistilBert":
        names = ("dim", "n_layers", "n_heads", "hidden_dim")
        old = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
        sizes = {**sizes, **{n: sizes[o] for n, o in zip(names, old, strict=True)}}
        sizes = {n: v for n, v in sizes.items() if n not in old}
    config = getattr(transformers, f"{family}Config")(**sizes)
    getattr(transformers, f"{family}ForSequenceClassification")(config).save_pretrained(str(folder))
    out = export_coreml(folder, tmp_path / "bundle", recipe=recipe, lengths=(64,), gate=False)
    checkpoint = load_checkpoint(folder)
    evaluator = Evaluator(read_program(out / package.NAME), half=False)
    ids = np.random.default_rng(5).integers(5, 40, 50)
    alone = given(checkpoint.inputs, ids, len(ids))
    with torch.inference_mode():
        inputs = {name: torch.from_numpy(array).long() for name, array in alone.items()}
        expected = checkpoint.model(**inputs).logits.numpy()
    limit = {"fp16": 3e-3, "int8": 0.05}.get(recipe, 0.5)
    assert np.abs(evaluator(given(checkpoint.inputs, ids, 64)) - expected).max() < limit


@pytest.mark.parametrize(("target", "tables"), [("iOS18", 4), ("iOS17", 0)])
def test_int8_has_the_position_tables_in_4_bits_where_it_can(
    tiny_deberta: Path, tmp_path: Path, target: str, tables: int
) -> None:
    out = export_coreml(tiny_deberta, tmp_path / "b", recipe="int8", target=target, gate=False)
    exceptions = open_bundle(out).manifest.precision.exceptions
    said = "position tables: palette4 (half the bytes, no larger score error)"
    assert (said in exceptions) == bool(tables)
    saved = read_program(out / package.NAME)
    kinds = [op.op_type for op in saved.functions["main"].operations]
    assert kinds.count("constexpr_lut_to_dense") == tables


def test_the_bundle_says_what_it_is(
    bundles: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = open_bundle(bundles["bert"]).manifest
    assert set(manifest.files) == {*FILES, "tokenizer.json", "golden.jsonl", "README.md"}
    assert manifest.runtime == "coreml"
    assert manifest.input.dtype == "int32"
    assert manifest.input.lengths is not None
    assert manifest.input.lengths.values == (32, 64)
    assert manifest.input.lengths.left_out == (128, 256, 512)
    assert manifest.precision.parity is not None
    assert manifest.precision.parity["mean_score_error"] < 0.002
    assert main(["info", str(bundles["bert"])]) == 0
    shown = capsys.readouterr().out
    assert "requires     Core ML of iOS18 (specification 9)" in shown
    assert "lengths      32, 64, left out 128, 256, 512" in shown
    assert main(["info", str(bundles["deberta"])]) == 0
    assert "lengths      1 to 64" in capsys.readouterr().out


def test_verify_evaluates_the_package(
    bundles: dict[str, Path], copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(bundles["bert"])]) == 0
    assert "scores within 0.0" in capsys.readouterr().out
    golden = copy / "golden.jsonl"
    rows = [json.loads(line) for line in golden.read_text(encoding="utf-8").splitlines()]
    for row in rows:
        row["tolerance"] = 1e-9
    golden.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    rewrite_entry(copy, "golden.jsonl")
    with pytest.raises(GoldenMismatchError, match="score"):
        verify(copy, PackageScorer)
    report = verify(copy)
    assert report.unchecked is not None
    assert "extras export and coreml" in report.unchecked


def rewrite_entry(folder: Path, name: str) -> None:
    """Let the manifest say the size and hash of a changed file."""
    import hashlib

    path = folder / "guard.json"
    fields = json.loads(path.read_text(encoding="utf-8"))
    data = (folder / name).read_bytes()
    fields["files"][name] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    path.write_bytes(seal(json.dumps(fields).encode()))


def test_verify_says_what_it_cannot_check(bundles: dict[str, Path]) -> None:
    hidden = (
        "import sys\n"
        "sys.modules['coremltools'] = None\n"
        "import importlib.util as u\n"
        "find = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'coremltools' else find(name, *a)\n"
        "from harmguard.cli import main\n"
        "raise SystemExit(main(sys.argv[1:]))\n"
    )
    found = processes.run(["-c", hidden, "verify", bundles["bert"]])
    assert found.returncode == 0, found.stderr
    assert (
        "token ids equal, scores NOT checked: Core ML needs coremltools, not installed here; "
        "type: pip install 'harmguard[export,coreml]'\n"
    ) in found.stdout
    found = processes.run(["-c", hidden, "export", "checkpoint", "out", "--target", "coreml"])
    assert found.returncode != 0
    assert found.stderr.count("\n") == 1
    assert "pip install 'harmguard[export,coreml]'" in found.stderr


def test_the_runtime_refuses_it_by_name(bundles: dict[str, Path], tmp_path: Path) -> None:
    message = "'bert' is a bundle for coreml; expected one for onnxruntime; likely made with"
    with pytest.raises(WrongRuntimeError, match=message):
        HarmGuard(bundles["bert"])
    with pytest.raises(WrongRuntimeError, match=message):
        prepare(open_bundle(bundles["bert"]), tmp_path / "cache")


def test_files_of_the_package_are_checked(copy: Path) -> None:
    weights = copy / "model.mlpackage/Data/com.apple.CoreML/weights/weight.bin"
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)
    with pytest.raises(BundleFileError, match=r"weight\.bin has sha256"):
        open_bundle(copy)


def test_a_linked_folder_of_the_package_is_refused(copy: Path, tmp_path: Path) -> None:
    data = copy / "model.mlpackage/Data"
    data.rename(tmp_path / "elsewhere")
    data.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UnsafePathError, match=r"Data is a symbolic link"):
        open_bundle(copy)


def test_two_exports_by_two_processes_are_the_same_bytes(
    bundles: dict[str, Path], tiny_checkpoint: Path, tmp_path: Path
) -> None:
    again = tmp_path / "again"
    given = ["--target", "coreml", "--recipe", "fp16"]
    done = processes.run(["-m", "harmguard", "export", tiny_checkpoint, again, *given])
    assert done.returncode == 0, done.stderr
    names = [*open_bundle(again).manifest.files, "guard.json"]
    same, different, failed = filecmp.cmpfiles(bundles["bert"], again, names, shallow=False)
    assert (sorted(same), different, failed) == (sorted(names), [], [])


@pytest.mark.parametrize(
    ("target", "kind"),
    [("iOS18", k) for k in ("int8", "int4", "palette4")]
    + [("iOS17", "int8"), ("iOS17", "palette4")],
)
def test_decompressed_weights_are_what_was_packed(
    tiny_deberta: Path, tmp_path: Path, target: str, kind: str
) -> None:
    from harmguard_export.coreml.weights import ModelWeights

    checkpoint = load_checkpoint(tiny_deberta)
    model = ModelWeights.of(checkpoint)
    lengths = choose_lengths(target, None, 64)
    dense: dict[str, Any] = {}

    def store(name: str, weight: Any) -> Any:
        packed = pack(weight, kind, whole=target == "iOS17")
        dense[name] = packed.dense()
        assert np.abs(dense[name] - weight).max() <= np.abs(weight).max() * 0.25
        return packed

    built = program.ProgramBuilder(model, 64, target, store).build()
    converted = program.convert(built, package.shapes(model.inputs, lengths), target)
    evaluator = Evaluator(read_program(package.save(converted, tmp_path, "test")), half=False)
    feeds = given(model.inputs, [2, 7, 9, 3], 32)
    exact = evaluator.replaced(dense)(feeds)
    assert np.abs(evaluator(feeds) - exact).max() < 1e-4


def test_the_smallest_float32_as_a_mask_is_nan_in_fp16_and_fails(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with np.errstate(over="ignore"):
        monkeypatch.setattr(program, "ABSENT", np.float16(torch.finfo(torch.float32).min))
    message = "windows are not finite in fp16; expected finite ones; likely a mask or an activation"
    with pytest.raises(ProgramError, match=message):
        export_coreml(tiny_checkpoint, tmp_path / "b", recipe="fp16", gate=False)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_operator_fails_by_name(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from coremltools.converters.mil.mil import Builder as mb

    monkeypatch.setattr(program, "activation", lambda x, name: mb.softplus(x=x))
    message = "the program has the operators softplus, which the check on this machine"
    with pytest.raises(ProgramError, match=message):
        export_coreml(tiny_checkpoint, tmp_path / "b", recipe="fp16")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(
    np.lib.NumpyVersion(np.__version__) < "2.4.0", reason="coremltools 9.0 takes this numpy"
)
def test_what_coremltools_cannot_do_with_numpy_2_4_names_the_releases(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import coremltools
    from coremltools.converters.mil.mil import Builder as mb

    def ramp(x: Any, name: str) -> Any:
        """Its bounds are arrays of one element, from which numpy 2.4 makes no number."""
        return mb.range_1d(start=np.array([0]), end=np.array([4]), step=np.array([1]))

    monkeypatch.setattr(program, "activation", ramp)
    message = (
        f"coremltools {coremltools.__version__} with numpy {np.__version__} cannot convert the "
        "program: TypeError: only 0-dimensional arrays can be converted to Python scalars; "
        "expected releases that fit together; likely numpy 2.4 or newer, which parts of "
        "coremltools 9.0 cannot take: pip install 'numpy<2.4'"
    )
    with pytest.raises(ProgramError, match=re.escape(message)):
        export_coreml(tiny_checkpoint, tmp_path / "b", recipe="fp16", lengths=(64,), gate=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"target": "iOS16"}, DeploymentTargetError, "'iOS16'; expected iOS18 or iOS17"),
        (
            {"target": "iOS17", "lengths": (32,)},
            DeploymentTargetError,
            "only iOS18 can enumerate the lengths of several inputs",
        ),
        (
            {"target": "iOS17", "recipe": "int4"},
            DeploymentTargetError,
            "4-bit weights with a scale per block need iOS18",
        ),
        ({"lengths": (0, 32)}, DeploymentTargetError, "expected positive numbers"),
        ({"lengths": (128,)}, UnsupportedModelError, "64 positions; expected at least 128"),
        ({"recipe": "fp32"}, RecipeError, "expected one of fp16, int8, int4, palette4"),
    ],
)
def test_what_a_target_cannot_do_is_refused(
    tiny_checkpoint: Path,
    tmp_path: Path,
    options: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        export_coreml(tiny_checkpoint, tmp_path / "b", **options)
    assert list(tmp_path.iterdir()) == []


def test_without_a_gate_four_short_pairs_are_measured(
    bundles: dict[str, Path], tiny_checkpoint: Path, tmp_path: Path
) -> None:
    lines = (bundles["deberta"] / "golden.jsonl").read_text(encoding="utf-8").splitlines()
    golden = [json.loads(line) for line in lines]
    assert len(golden) == 4
    assert all(len(row["ids"]) == 1 and len(row["ids"][0]) <= 64 for row in golden)
    assert "parity on 4 pairs" in (bundles["deberta"] / "README.md").read_text()
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text('{"prompt": "bake bread"}\n{"prompt": "fresh milk"}\n')
    out = tmp_path / "out"
    export_coreml(tiny_checkpoint, out, recipe="fp16", pairs=pairs, gate=False)
    assert "parity on 2 pairs" in (out / "README.md").read_text()


def test_options_of_core_ml_alone_are_refused_without_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["export", "c", "o", "--deployment", "iOS18"]) != 0
    assert "--deployment without --target coreml" in capsys.readouterr().err
