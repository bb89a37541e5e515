"""Every family, trained for a moment: its rounded bundles pass the gate, whatever the batch."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from harmguard_export import export
from harmguard_export.families import FAMILIES, LAYER_INPUTS
from harmguard_export.quantization.recipe import load_recipe
from harmguard_export.sensitivity import find_recipe

from harmguard import HarmGuard
from harmguard.bundle import open_bundle
from tests.export.test_encoder import CLASSES, config_of
from tests.training import tiny

STEPS = 150
# One family in the suite; the others' forms are compared with torch there (`test_encoder.py`).
FAST = "mpnet"
ALL = [pytest.param(name, marks=() if name == FAST else pytest.mark.slow) for name in FAMILIES]


def trained(folder: Path, family: str) -> Path:
    """A model of 2 layers that tells the rude words of `tiny` from the others, to a degree."""
    fast = tiny.tokenizer()
    config = config_of(
        family, vocab_size=len(fast), hidden_size=64, num_attention_heads=4, pad_token_id=0,
        intermediate_size=128, max_position_embeddings=66,
    )  # fmt: skip
    config.id2label, config.label2id = {0: "safe", 1: "harmful"}, {"safe": 0, "harmful": 1}
    torch.manual_seed(5)
    name = f"{CLASSES[family]}ForSequenceClassification"
    model: Any = getattr(transformers, name)(config).train()
    rng = random.Random(3)
    steps = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(STEPS):
        share = [rng.random() for _ in range(24)]
        texts = [
            " ".join(rng.choice(tiny.HARM if rng.random() < s else tiny.SAFE) for _ in range(8))
            for s in share
        ]
        given = fast(texts, padding=True, return_tensors="pt", return_token_type_ids=False)
        loss = model(**given, labels=torch.tensor([int(s > 0.5) for s in share])).loss
        steps.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        steps.step()
    assert loss.item() < 0.6
    model.save_pretrained(str(folder))
    fast.save_pretrained(str(folder))
    return folder


@pytest.fixture(scope="module", params=ALL)
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp(request.param) / "checkpoint", request.param)


@pytest.mark.parametrize("recipe", ["int8", "int4"])
def test_rounded_bundles_pass_their_gate_whatever_the_batch(
    checkpoint: Path, tmp_path: Path, recipe: str
) -> None:
    out = export(checkpoint, tmp_path / "bundle", recipe=recipe)
    parity = open_bundle(out).manifest.precision.parity
    assert parity is not None
    assert parity["batch_difference"] < 0.002
    rng = random.Random(7)
    words = [*tiny.SAFE, *tiny.HARM]
    pairs: list[tuple[str, str | None]] = [
        (" ".join(rng.choices(words, k=rng.randint(1, 70))), None) for _ in range(30)
    ]
    with HarmGuard(out) as guard:
        alone = np.array([guard.score(*pair) for pair in pairs])
        assert np.ptp(alone) > 0.1
        assert np.abs(guard.score_many(pairs) - alone).max() < 0.002
        assert np.abs(guard.score_many(pairs[::-1])[::-1] - alone).max() < 0.002


@pytest.mark.slow
def test_sensitivity_finds_a_recipe_that_passes(checkpoint: Path, tmp_path: Path) -> None:
    strict = load_recipe("int4").to_json()
    strict["limits"] |= {"logit_rms_error": 0.04, "mean_score_error": 0.01}
    (tmp_path / "strict.json").write_text(json.dumps(strict))
    out = find_recipe(checkpoint, tmp_path / "report", recipe=str(tmp_path / "strict.json"))
    report = json.loads((out / "sensitivity.json").read_text())
    # The last layer's queries, keys and values are in float32 whatever the recipe.
    assert {row["layer"] for row in report["layers"]} == {
        f"{layer}.{kind}" for layer in (0, 1) for kind in LAYER_INPUTS
    } - {"1.qkv"}
    bundle = export(checkpoint, tmp_path / "bundle", recipe=str(out / "recipe.json"))
    assert open_bundle(bundle).manifest.precision.parity is not None


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["fp16", "int8", "int4", "palette4"])
def test_core_ml_packages_pass_their_gate(checkpoint: Path, tmp_path: Path, recipe: str) -> None:
    pytest.importorskip("coremltools")
    from harmguard_export.coreml import export_coreml

    out = export_coreml(checkpoint, tmp_path / "bundle", recipe=recipe, lengths=(64,))
    assert open_bundle(out).manifest.precision.parity is not None
