from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from harmguard_export import parity
from harmguard_export.quantization.recipe import load_recipe

from harmguard.bundle.manifest import seal
from harmguard.core.encode import Encoded, Window
from harmguard.errors import GoldenMismatchError, ParityError, RecipeError
from harmguard.verify import verify

LIMITS = load_recipe("int8").limits


def one_window(count: int) -> list[Encoded]:
    ids = np.zeros(3, np.int64)
    return [Encoded((Window(ids, ids),), 1, 1) for _ in range(count)]


def logits(margins: list[float]) -> np.ndarray:
    return np.array([[0, margin] for margin in margins], np.float32)


def test_equal_models_pass() -> None:
    before = logits([-2, -1, 1, 2])
    found = parity.measure(before, before, one_window(4), 0.5, np.array([0, 0, 1, 1]))
    parity.check(found, LIMITS)
    assert found.to_json()["logit_rms_error"] == 0
    assert found.auprc_drop == 0
    assert "MISSED" not in found.report(LIMITS)


def test_a_flip_far_from_the_threshold_misses() -> None:
    found = parity.measure(logits([2, -2]), logits([-2, -2]), one_window(2), 0.5, None)
    assert found.flipped == 0.5
    assert found.flipped_distance == pytest.approx(1 / (1 + np.exp(-2)) - 0.5)
    assert found.auprc_drop is None
    with pytest.raises(ParityError, match=r"(?s)flipped_distance.*No bundle.*MISSED"):
        parity.check(found, LIMITS)


def test_rounding_is_no_drop() -> None:
    one, other = logits([1, 1 + 1e-6, -1]), logits([1 + 1e-6, 1, -1])
    found = parity.measure(other, one, one_window(3), 0.5, np.array([1, 0, 1]))
    assert found.largest_score_error > 0
    assert found.auprc_drop == 0
    swapped = logits([1, 1.001, -1])
    found = parity.measure(other, swapped, one_window(3), 0.5, np.array([1, 0, 1]))
    assert found.auprc_drop is not None
    assert found.auprc_drop > 0.1


def test_a_lost_order_of_certain_scores_is_a_drop() -> None:
    before, after = logits([14, 13, -1]), logits([13, 14, -1])
    found = parity.measure(before, after, one_window(3), 0.5, np.array([1, 0, 0]))
    assert found.largest_score_error < 1e-5
    assert found.auprc_drop == pytest.approx(0.5)


def test_nan_misses() -> None:
    found = parity.measure(logits([2, -2]), logits([2, np.nan]), one_window(2), 0.5, None)
    with pytest.raises(ParityError, match="mean_score_error"):
        parity.check(found, LIMITS)


@pytest.mark.parametrize(
    ("before", "after", "match"),
    [
        (
            [2, -2],
            [2, np.nan],
            "logits are not finite in 1 of 2 windows; likely weights whose range",
        ),
        ([2, -2], [np.inf, -2], "logits are not finite in 1 of 2 windows"),
        ([0.01, -0.01], [-0.9, 0.9], r"all near .5 \(0.498 to 0.502\); likely an untrained model"),
        ([4, -4], [-4, 4], "scores are 0.018 to 0.982, .* likely a model with activation outliers"),
    ],
)
def test_the_error_says_what_its_numbers_suggest(
    before: list[float], after: list[float], match: str
) -> None:
    found = parity.measure(logits(before), logits(after), one_window(2), 0.5, None)
    with pytest.raises(ParityError, match=match) as raised:
        parity.check(found, LIMITS)
    assert str(raised.value).count("parity on 2 pairs") == 1
    assert "cause" not in found.to_json()
    assert "cause" not in found.report(LIMITS)


def test_a_score_that_the_batch_moves_misses() -> None:
    before, moved = logits([-2, 0.0, 2]), logits([-2, 0.009, 2])
    found = parity.measure(before, before, one_window(3), 0.5, None, moved)
    assert found.batch_difference == pytest.approx(0.00225, abs=1e-5)
    with pytest.raises(ParityError, match=r"(?s)batch_difference.*one for the whole batch.*MISSED"):
        parity.check(found, LIMITS)
    nearer = parity.measure(before, before, one_window(3), 0.5, None, logits([-2, 0.007, 2]))
    parity.check(nearer, LIMITS)


def test_golden_pairs_that_a_batch_moves_are_refused(tiny_bundle: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    # Alone a text has the mean of its batch: its logits stay as they are.
    last = model.graph.node.pop()
    assert last.output == ["logits"]
    axes = onnx.numpy_helper.from_array(np.array([0]), "axes")
    model.graph.initializer.append(axes)
    for node in (
        onnx.helper.make_node("ReduceMean", [last.input[0], "axes"], ["mean"], keepdims=1),
        onnx.helper.make_node("Sub", [last.input[0], "mean"], ["moved"]),
        onnx.helper.make_node("Add", [last.input[0], "moved"], ["logits"]),
    ):
        model.graph.node.append(node)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    # Two windows of one text are a batch already: let no row fail before they are all in one.
    golden = folder / "golden.jsonl"
    rows = [json.loads(line) | {"tolerance": 0.45} for line in golden.read_text().splitlines()]
    golden.write_text("".join(json.dumps(row) + "\n" for row in rows))
    fields = json.loads((folder / "guard.json").read_text())
    for name in ("model.onnx", "golden.jsonl"):
        data = (folder / name).read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        fields["files"][name] = {"size": len(data), "sha256": digest}
    (folder / "guard.json").write_bytes(seal(json.dumps(fields).encode()))
    with pytest.raises(GoldenMismatchError, match=r"row \d+: score .* in a batch .* has alone"):
        verify(folder)


def test_each_limit_is_checked() -> None:
    before = logits([-2, 2])
    found = parity.measure(before, before, one_window(2), 0.5, np.array([0, 1]))
    for name, limit in vars(LIMITS).items():
        assert replace(found, **{name: limit * 1.01}).missed(LIMITS) == [name]


def test_a_pair_scores_as_its_worst_window() -> None:
    window = one_window(1)[0].windows[0]
    encoded = [Encoded((window, window), 2, 2), Encoded((window,), 1, 1)]
    found = parity.measure(logits([-3, 3, -3]), logits([-3, -3, -3]), encoded, 0.5, None)
    assert found.pairs == 2
    assert found.flipped == 0.5


def test_average_precision_is_scikit_learns() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 200)
    scores = random.random(200).round(1)  # ties
    expected = metrics.average_precision_score(labels, scores)
    assert parity.average_precision(labels, scores) == pytest.approx(expected)


def test_unknown_recipe() -> None:
    with pytest.raises(RecipeError, match="expected one of fp32, int4, int8, or a file"):
        load_recipe("int3")


def test_recipe_with_a_wrong_field(monkeypatch: pytest.MonkeyPatch) -> None:
    from harmguard_export.quantization.recipe import _recipe

    with pytest.raises(RecipeError, match="recipe fields"):
        _recipe({"name": "x"})
    good = {**vars(load_recipe("int8")), "limits": vars(LIMITS)}
    with pytest.raises(RecipeError, match="linear is 'int9'"):
        _recipe({**good, "linear": "int9"})
