from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from harmguard.checkpoint import load_checkpoint
from harmguard.errors import ConfigError
from harmguard.training.distil.config import read_config
from harmguard.training.distil.distill import distill
from harmguard.training.distil.frozen import freeze
from tests.training import tiny

FAMILIES: dict[str, dict[str, Any]] = {
    "Bert": {"num_hidden_layers": 3},
    "XLMRoberta": {"num_hidden_layers": 3},
    "MPNet": {"num_hidden_layers": 3},
    "DistilBert": {"n_layers": 3, "dim": 32, "hidden_dim": 40, "n_heads": 2},
    "Electra": {"num_hidden_layers": 3, "embedding_size": 16},
    "MegatronBert": {"num_hidden_layers": 3},
    "DebertaV2": {
        "num_hidden_layers": 3, "relative_attention": True, "position_buckets": 8,
        "pos_att_type": ["p2c", "c2p"], "share_att_key": True, "norm_rel_ebd": "layer_norm",
    },
    "ModernBert": {
        "num_hidden_layers": 3, "reference_compile": False, "attn_implementation": "eager",
    },
}  # fmt: skip


def model(family: str) -> torch.nn.Module:
    torch.manual_seed(3)
    sizes = {
        "vocab_size": 60, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 40,
        "max_position_embeddings": 64, "pad_token_id": 0,
    }  # fmt: skip
    if family == "DistilBert":
        sizes = {"vocab_size": 60, "max_position_embeddings": 64}
    if family == "ModernBert":
        sizes |= {"bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2}
    config = getattr(transformers, f"{family}Config")(**sizes, **FAMILIES[family])
    found: torch.nn.Module = getattr(transformers, f"{family}ForSequenceClassification")(config)
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_the_backward_pass_ends_at_the_lowest_layer_that_is_trained(family: str) -> None:
    net = model(family)
    freeze(net, 2)
    ids = torch.arange(5, 25).reshape(2, 10)
    net(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.sum().backward()
    named = dict(net.named_parameters())
    trained = [name for name, parameter in named.items() if parameter.grad is not None]
    assert [name for name, parameter in named.items() if parameter.requires_grad] == trained
    for name in named:
        low = any(f".{part}.0." in name or f".{part}.1." in name for part in ("layer", "layers"))
        shared = "embedding" in name or "relative" in name or ".encoder.LayerNorm." in name
        assert (name not in trained) == (low or shared), name


def test_no_layer_is_no_change() -> None:
    net = model("Bert")
    freeze(net, 0)
    assert all(parameter.requires_grad for parameter in net.parameters())


@pytest.mark.parametrize("layers", [3, 4, 99])
def test_more_layers_than_there_are(layers: int) -> None:
    with pytest.raises(
        ConfigError, match=f"frozen_layers is {layers}; expected fewer than the student's 3 layers"
    ):
        freeze(model("MPNet"), layers)


def test_a_model_without_layers() -> None:
    with pytest.raises(ConfigError, match="expected fewer than the student's 0 layers"):
        freeze(torch.nn.Linear(2, 2), 1)


def test_a_run_leaves_what_is_frozen(tmp_path: Path) -> None:
    path = tiny.config_file(tmp_path, epochs=1)
    text = path.read_text().replace("max_tokens = 64", "max_tokens = 64\nfrozen_layers = 1")
    path.write_text(text)
    config = read_config(path)
    assert config.student.frozen_layers == 1
    before = load_checkpoint(tmp_path / "student").model.state_dict()
    after = load_checkpoint(distill(config, tmp_path / "run")).model.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert any(".layer.1." in name for name in moved)
    assert not any(".layer.0." in name or ".embeddings." in name for name in moved)
