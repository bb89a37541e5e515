from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, BertConfig

from harmguard.checkpoint import load_checkpoint
from harmguard.errors import CheckpointError, CheckpointWarning
from tests.training import tiny

PAIRS: list[tuple[str, str | None]] = [
    ("how do i bake bread", None),
    ("you are a fool", "please"),
    ("how do i", ""),
    ("please bake " * 60, None),
    ("rude hat", "ugly " * 120),
]
SHORT = PAIRS[:3]  # in one window each


def relabel(folder: Path, *names: str, **more: Any) -> Path:
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["id2label"] = {str(i): name for i, name in enumerate(names)}
    config["label2id"] = {name: i for i, name in enumerate(names)}
    path.write_text(json.dumps({**config, **more}), encoding="utf-8")
    return folder


@pytest.fixture(scope="module", params=["bert", "deberta"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.student(tmp_path_factory.mktemp("checkpoint"), request.param)


def test_scores_equal_the_model_called_by_hand(folder: Path) -> None:
    found = load_checkpoint(folder)
    scores = found.score_many(PAIRS)
    assert scores.dtype == np.float32
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    for pair, score in zip(PAIRS, scores, strict=True):
        by_hand = []
        for window in found.encoder.encode(*pair).windows:
            inputs = {"input_ids": torch.from_numpy(window.ids)[None]}
            if model.config.type_vocab_size > 1:
                inputs["token_type_ids"] = torch.from_numpy(window.types)[None]
            with torch.inference_mode():
                by_hand.append(float(model(**inputs).logits.softmax(-1)[0, 1]))
        assert score == pytest.approx(max(by_hand), abs=1e-5)


def test_windows_and_order(folder: Path) -> None:
    found = load_checkpoint(folder)
    assert [len(e.windows) > 1 for e in found.encode(PAIRS)] == [False, False, False, True, True]
    np.testing.assert_allclose(
        found.score_many(PAIRS[::-1])[::-1], found.score_many(PAIRS), atol=1e-6
    )
    assert found.score_many([]).shape == (0,)


def test_batches_and_padding_change_nothing(folder: Path) -> None:
    found, small = load_checkpoint(folder), load_checkpoint(folder, batch_tokens=64)
    windows = [w for e in found.encode(PAIRS) for w in e.windows]
    logits = found.logits(windows)
    np.testing.assert_allclose(small.logits(windows), logits, atol=1e-5)
    np.testing.assert_allclose(found.logits(windows, padded=False), logits, atol=1e-5)


def test_a_batch_is_never_longer_than_the_model(folder: Path) -> None:
    found = load_checkpoint(folder)
    (encoded,) = found.encode([("bread " * 400, None)])
    batch = found.collate(encoded.windows)
    assert {t.shape[1] for t in batch.values()} == {64}


def test_labels_the_other_way_round_are_put_right(tmp_path: Path) -> None:
    plain = load_checkpoint(tiny.student(tmp_path / "plain", "bert"))
    expected = plain.score_many(SHORT)
    assert (plain.labels is not None and plain.labels.record()) is None
    swapped = relabel(tiny.student(tmp_path / "swapped", "bert"), "harmful", "unharmful")
    with pytest.warns(
        CheckpointWarning, match="'harmful', 'unharmful', the harmful one first; the"
    ):
        found = load_checkpoint(swapped)
    np.testing.assert_allclose(found.score_many(SHORT), 1 - expected, atol=1e-6)
    assert found.config.id2label == {0: "safe", 1: "harmful"}
    assert found.labels is not None
    assert found.labels.record() == {
        "names": ["harmful", "unharmful"], "harmful": "harmful", "how": "swapped"
    }  # fmt: skip
    weights = load_file(swapped / "model.safetensors")
    torch.testing.assert_close(
        found.model.state_dict()["classifier.weight"], weights["classifier.weight"].flip(0)
    )


def test_names_that_say_nothing_are_assumed_or_chosen(tmp_path: Path) -> None:
    folder = tiny.student(tmp_path / "a", "bert")
    expected = load_checkpoint(folder).score_many(SHORT)
    relabel(folder, "LABEL_0", "LABEL_1")
    with pytest.warns(
        CheckpointWarning, match="do not say what is harmful; taken as safe, harmful"
    ):
        found = load_checkpoint(folder)
    np.testing.assert_allclose(found.score_many(SHORT), expected, atol=1e-6)
    with pytest.warns(CheckpointWarning, match="rows are swapped"):
        found = load_checkpoint(folder, harmful="LABEL_0")
    np.testing.assert_allclose(found.score_many(SHORT), 1 - expected, atol=1e-6)
    assert found.labels is not None
    assert found.labels.how == "chosen"
    with pytest.raises(
        CheckpointError, match="no label 'bad'; expected one of 'LABEL_0', 'LABEL_1"
    ):
        load_checkpoint(folder, harmful="bad")


def test_one_label_is_a_sigmoid(tmp_path: Path) -> None:
    torch.manual_seed(1)
    folder = relabel(tiny.student(tmp_path / "one", "bert"), "toxic")
    config = BertConfig.from_pretrained(folder)
    assert config.num_labels == 1
    model = AutoModelForSequenceClassification.from_config(config).eval()
    model.save_pretrained(folder)
    found = load_checkpoint(folder)
    window = found.encoder.encode(*PAIRS[0]).windows[0]
    with torch.inference_mode():
        logit = model(input_ids=torch.from_numpy(window.ids)[None]).logits
    assert found.score_many(PAIRS[:1])[0] == pytest.approx(float(logit.sigmoid()[0, 0]), abs=1e-6)
    assert found.logits([window])[0, 0] == 0.0
    assert found.config.num_labels == 2


def test_max_tokens_is_the_least_that_anything_says(folder: Path, tmp_path: Path) -> None:
    assert load_checkpoint(folder).encoder.max_tokens == 64
    named = folder / "harmguard_training.json"
    try:
        named.write_text('{"max_tokens": 32}')
        assert load_checkpoint(folder).encoder.max_tokens == 32
        named.write_text('{"max_tokens": 4096}')
        with pytest.raises(CheckpointError, match="max_tokens is 4096; expected at most 64, the m"):
            load_checkpoint(folder)
        named.write_text('{"max_tokens": 5}')
        with pytest.raises(CheckpointError, match="max_tokens is 5, which leaves less than"):
            load_checkpoint(folder)
        named.write_text('{"max_tokens": "x"}')
        with pytest.raises(CheckpointError, match="max_tokens of the metadata is a str; expected"):
            load_checkpoint(folder)
    finally:
        named.unlink()
