"""The smoke plan's tiny models, made once, and plans that use them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harmguard.training.harmaug.plan import Plan, read_plan
from harmguard.training.harmaug.smoke import make_models


@pytest.fixture(scope="session")
def smoke_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds `models/`: generator, responder, teacher, student."""
    out = tmp_path_factory.mktemp("smoke")
    make_models(read_plan("smoke", out), out / "models")
    return out


@pytest.fixture
def smoke(smoke_models: Path) -> Plan:
    """The smoke plan with its models in place."""
    return read_plan("smoke", smoke_models)


@pytest.fixture
def smaller(smoke: Plan) -> Plan:
    """The same with fewer rows."""
    return replace(smoke, generate=replace(smoke.generate, count=12, bare=4, max_attempts=32))


@pytest.fixture(scope="session")
def bad_model(smoke_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """A copy of one of the models with its tokenizer or weights changed by a function."""

    def make(name: str, change: Callable[[Path], Any]) -> str:
        folder = tmp_path_factory.mktemp("bad") / name
        shutil.copytree(smoke_models / "models" / name, folder)
        change(folder)
        return str(folder)

    return make
