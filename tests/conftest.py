"""Tiny real checkpoints and a bundle of one, made once a session; torch is loaded only for them."""

from __future__ import annotations

from pathlib import Path

import hypothesis
import pytest

# How long an example takes says more about the machine than about the code.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random 2-layer BERT of 64 positions, with a WordPiece tokenizer."""
    pytest.importorskip("torch")
    from tests.training import tiny

    return tiny.student(tmp_path_factory.mktemp("tiny") / "bert", "bert")


@pytest.fixture(scope="session")
def tiny_deberta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a DeBERTa-v2."""
    pytest.importorskip("torch")
    from tests.training import tiny

    return tiny.student(tmp_path_factory.mktemp("tiny") / "deberta", "deberta")


@pytest.fixture(scope="session")
def tiny_bundle(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fp32 bundle of `tiny_checkpoint`, past its parity gate."""
    from harmguard_export import export

    return export(tiny_checkpoint, tmp_path_factory.mktemp("bundles") / "tiny", recipe="fp32")
