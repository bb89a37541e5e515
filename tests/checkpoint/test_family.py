"""Positions, token types and heads, on tiny random models of families that differ in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from harmguard.checkpoint import load_checkpoint, load_student
from harmguard.errors import CheckpointError, CheckpointWarning
from tests.training import tiny

SIZES: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48,
    "embedding_size": 32, "initializer_range": 0.2, "id2label": {0: "safe", 1: "harmful"},
}  # fmt: skip
# Family -> rows of its table, positions that fit, whether it has token types.
FAMILIES: list[tuple[str, int, int, bool, dict[str, Any]]] = [
    ("bert", 64, 64, True, {}),
    ("electra", 64, 64, True, {}),
    ("albert", 64, 64, True, {}),
    ("distilbert", 64, 64, False, {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 48}),
    ("roberta", 66, 64, False, {"pad_token_id": 1}),
    ("xlm-roberta", 66, 64, False, {"pad_token_id": 1}),
    ("camembert", 66, 64, False, {"pad_token_id": 1}),
    ("mpnet", 66, 64, False, {"pad_token_id": 1}),
    ("data2vec-text", 66, 64, False, {"pad_token_id": 1}),
    ("roberta", 64, 63, False, {"pad_token_id": 0}),
    ("nystromformer", 64, 64, True, {"num_landmarks": 64}),
    ("big_bird", 1024, 704, True, {}),
    ("big_bird", 1024, 1024, True, {"attention_type": "original_full"}),
]


def make(folder: Path, family: str, rows: int, **more: Any) -> Path:
    torch.manual_seed(3)
    fast = tiny.tokenizer()
    fast.model_max_length = 1 << 30
    config = AutoConfig.for_model(
        family, vocab_size=len(fast), max_position_embeddings=rows, **{**SIZES, **more}
    )
    AutoModelForSequenceClassification.from_config(config).save_pretrained(str(folder))
    fast.save_pretrained(str(folder))
    return folder


@pytest.mark.parametrize(
    ("family", "rows", "fit", "typed", "more"), FAMILIES, ids=[f"{f[0]}-{f[1]}" for f in FAMILIES]
)
def test_the_longest_input_fits_and_one_more_does_not(
    tmp_path: Path, family: str, rows: int, fit: int, typed: bool, more: dict[str, Any]
) -> None:
    folder = make(tmp_path / family, family, rows, **more)
    found = load_checkpoint(folder)
    assert found.encoder.max_tokens == fit
    assert ("token_type_ids" in found.inputs) is typed
    text = "bread " * (2 * fit)
    assert 0 <= found.score_many([(text, None)])[0] <= 1
    assert load_student(folder, fit).encoder.max_tokens == fit
    with pytest.raises(CheckpointError, match=f"max_tokens is {fit + 1}; expected at most {fit}"):
        load_student(folder, fit + 1)


def test_a_model_without_an_attention_mask_is_refused(tmp_path: Path) -> None:
    folder = make(tmp_path / "f", "fnet", 64)
    with pytest.raises(CheckpointError, match=r"a fnet takes no attention mask; .*the padding"):
        load_checkpoint(folder)


def test_a_model_without_token_embeddings_is_refused(tmp_path: Path) -> None:
    folder = make(tmp_path / "f", "canine", 64)
    for load in (load_checkpoint, lambda path: load_student(path, 64)):
        with pytest.raises(CheckpointError, match="a canine has no table of token embeddings"):
            load(folder)


@pytest.mark.parametrize("family", ["roberta", "electra", "distilbert", "mpnet"])
def test_rows_are_swapped_in_heads_of_several_layers(tmp_path: Path, family: str) -> None:
    more: dict[str, Any] = dict(next(f[4] for f in FAMILIES if f[0] == family))
    right = load_checkpoint(make(tmp_path / "a", family, 66, **more)).score_many([("bread", None)])
    folder = make(tmp_path / "b", family, 66, **more, id2label={0: "toxic", 1: "fine"})
    with pytest.warns(CheckpointWarning, match="'toxic', 'fine', the harmful one first"):
        left = load_checkpoint(folder).score_many([("bread", None)])
    assert left[0] == pytest.approx(1 - right[0], abs=1e-6)


@pytest.mark.parametrize("family", ["bert", "roberta", "deberta-v2"])
@pytest.mark.parametrize("labels", [1, 3])
def test_a_head_of_another_size_is_replaced_for_training(
    tmp_path: Path, family: str, labels: int
) -> None:
    names = {i: f"LABEL_{i}" for i in range(labels)}
    folder = make(tmp_path / "f", family, 64, id2label=names, pad_token_id=0)
    with pytest.warns(CheckpointWarning, match=rf"its head of {labels} labels? is replaced"):
        found = load_student(folder, 32, dropout=0.0)
    assert found.labels is None
    assert found.config.id2label == {0: "safe", 1: "harmful"}
    assert found.config.hidden_dropout_prob == 0.0
    assert found.logits(found.encode([("bread", None)])[0].windows).shape == (1, 2)


def test_a_base_model_gets_a_head_in_silence(tmp_path: Path) -> None:
    folder = make(tmp_path / "f", "bert", 64, id2label={0: "LABEL_0", 1: "LABEL_1"})
    model = AutoModelForSequenceClassification.from_pretrained(str(folder))
    model.bert.save_pretrained(str(folder))
    assert load_student(folder, 64).labels is None
    with pytest.raises(CheckpointError, match="likely a base model without a trained classifier"):
        load_checkpoint(folder)


def test_a_trained_head_is_kept_and_its_rows_put_right(tmp_path: Path) -> None:
    folder = make(tmp_path / "f", "bert", 64, id2label={0: "toxic", 1: "non-toxic"})
    with pytest.warns(CheckpointWarning, match="the head's rows are swapped"):
        scored = load_checkpoint(folder).score_many([("bread", None)])
    with pytest.warns(CheckpointWarning, match="the head's rows are swapped"):
        found = load_student(folder, 64)
    assert found.score_many([("bread", None)])[0] == pytest.approx(scored[0], abs=1e-6)


def test_weights_of_another_architecture_are_no_student(tmp_path: Path) -> None:
    bert, electra = make(tmp_path / "b", "bert", 64), make(tmp_path / "e", "electra", 64)
    (bert / "model.safetensors").replace(electra / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"lacks .* tensors of the model itself"):
        load_student(electra, 64)


def test_a_model_that_needs_more_than_texts_is_refused(tmp_path: Path) -> None:
    folder = make(tmp_path / "f", "gpt2", 64, n_embd=32, n_layer=2, n_head=2, pad_token_id=None)
    with pytest.raises(CheckpointError, match=r"a GPT2.* cannot score two texts \(ValueError"):
        load_checkpoint(folder)
