from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, BertConfig

from harmguard.errors import CheckpointError
from harmguard.training.checkpoint import (
    METADATA_FILE,
    CheckpointScorer,
    load_tokenizer,
    max_positions,
    read_metadata,
)
from tests.training import tiny

PAIRS: list[tuple[str, str | None]] = [
    ("how do i bake bread", None),
    ("you are a fool", "please"),
    ("how do i", ""),
    ("please bake " * 60, None),
    ("rude hat", "ugly " * 120),
]


@pytest.fixture(scope="module", params=["bert", "deberta"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.student(tmp_path_factory.mktemp("checkpoint"), request.param)


def test_scores_equal_the_model_called_by_hand(folder: Path) -> None:
    scorer = CheckpointScorer(folder)
    scores = scorer.score_many(PAIRS)
    assert scores.dtype == np.float32
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    for pair, score in zip(PAIRS, scores, strict=True):
        by_hand = []
        for window in scorer.encoder.encode(*pair).windows:
            inputs = {"input_ids": torch.from_numpy(window.ids)[None]}
            if model.config.type_vocab_size > 1:
                inputs["token_type_ids"] = torch.from_numpy(window.types)[None]
            with torch.inference_mode():
                by_hand.append(float(model(**inputs).logits.softmax(-1)[0, 1]))
        assert score == pytest.approx(max(by_hand), abs=1e-5)


def test_windows_and_order(folder: Path) -> None:
    scorer = CheckpointScorer(folder)
    assert [len(e.windows) > 1 for e in scorer.encode(PAIRS)] == [False, False, False, True, True]
    np.testing.assert_allclose(
        scorer.score_many(PAIRS[::-1])[::-1], scorer.score_many(PAIRS), atol=1e-6
    )
    assert scorer.score_many([]).shape == (0,)


def test_the_tokenizer_never_cuts(folder: Path) -> None:
    path = folder / "tokenizer.json"
    value = json.loads(path.read_text(encoding="utf-8"))
    value["truncation"] = {
        "direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 0
    }  # fmt: skip
    path.write_text(json.dumps(value), encoding="utf-8")
    tokenizer = load_tokenizer(folder)
    assert tokenizer.truncation is None
    assert tokenizer.padding is None
    assert len(tokenizer.encode("bread " * 50).ids) > 50


def test_max_positions() -> None:
    assert max_positions(BertConfig(max_position_embeddings=512), 1e30) == 512
    assert max_positions(BertConfig(max_position_embeddings=512), 128) == 128
    roberta = BertConfig(max_position_embeddings=514, pad_token_id=1)
    roberta.model_type = "roberta"
    assert max_positions(roberta, 1e30) == 512


def test_metadata(tmp_path: Path) -> None:
    assert read_metadata(tmp_path) == {}
    for text, message in (("{", "is not JSON"), ("[]", "holds no object")):
        (tmp_path / METADATA_FILE).write_text(text, encoding="utf-8")
        with pytest.raises(CheckpointError, match=message):
            read_metadata(tmp_path)


def test_errors(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has no config.json; expected a Hugging Face"):
        CheckpointScorer(tmp_path)
    folder = tiny.student(tmp_path / "three", "bert")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["id2label"] = {"0": "a", "1": "b", "2": "c"}
    config["label2id"] = {"a": 0, "b": 1, "c": 2}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(CheckpointError, match="3 labels; expected 2"):
        CheckpointScorer(folder)
