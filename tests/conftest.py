"""Tiny real checkpoints and a bundle of one, made once a session; torch is loaded only for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import hypothesis
import pytest

# How long an example takes says more about the machine than about the code.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two for folders; single modules begin sooner without, and slow tests need all the memory."""
    slow = "slow" in config.getoption("markexpr").replace("not slow", "")
    return 0 if slow or not any(Path(given).is_dir() for given in config.args) else 2


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep in one process what shares its models: a module, and all of HarmAug's tests."""
    from xdist.scheduler import LoadScopeScheduling

    def scope_of(nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        folder = module.rpartition("/")[0]
        return folder if folder.endswith("/harmaug") else module

    scheduler = LoadScopeScheduling(config, log)
    scheduler._split_scope = scope_of
    return scheduler


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
