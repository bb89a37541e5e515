"""The map, docs/architecture.md, and the contracts that keep it true."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "architecture.md"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources and their contracts; the last test spoils them."""
    folder = tmp_path_factory.mktemp("tree")
    only_python = shutil.ignore_patterns("models", "results", "__pycache__")
    for name in ("harmguard", "export/harmguard_export", "benchmarks"):
        shutil.copytree(ROOT / name, folder / Path(name).name, ignore=only_python)
    shutil.copy(ROOT / ".importlinter", folder)
    return folder


def lint(tree: Path) -> subprocess.CompletedProcess[str]:
    """Check the contracts in a folder."""
    code = (
        f"import sys; sys.path.insert(0, {str(tree)!r}); "
        "from importlinter.cli import lint_imports_command; lint_imports_command()"
    )
    command = [sys.executable, "-c", code, "--no-cache", "--no-logo"]
    return subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)


def test_the_contracts_hold(tree: Path) -> None:
    done = lint(tree)
    assert done.returncode == 0, done.stdout
    assert "0 broken" in done.stdout


WRONG = (
    ("No arrow points up", "core/files.py", "from harmguard.guard import HarmGuard"),
    ("No arrow points up", "verify.py", "import harmguard_export.parity"),
    ("Core: each module", "core/encode.py", "from harmguard.core import scores"),
    ("Training: HarmAug's", "training/stage.py", "from harmguard.training.distil import distill"),
    ("Export: graphs", "../harmguard_export/graphs/encoder.py", "import harmguard_export.coreml"),
    ("No circle", "training/evaluate/metrics.py", "from harmguard.training.evaluate import plots"),
    (
        "A module with an",
        "training/distil/average.py",
        "from harmguard.cli._bulk import score_lines",
    ),
    ("A module with an", "../benchmarks/training/cost.py", "from harmguard.cli import _bulk"),
)


def test_contracts_that_are_broken_are_named_with_the_import(tree: Path) -> None:
    for _, module, line in WRONG:
        path = tree / "harmguard" / module
        text = path.read_text(encoding="utf-8")
        path.write_text(f"{text}\n\ndef late() -> None:\n    {line}\n", encoding="utf-8")
    done = lint(tree)
    assert done.returncode == 1
    rows = [row.strip() for row in done.stdout.splitlines()]
    broken = [row for row in rows if row.partition(" (")[0].endswith("BROKEN")]
    assert len(broken) == len({contract for contract, _, _ in WRONG}), done.stdout
    for contract, _, _ in WRONG:
        assert any(contract in row for row in broken), contract
    for importer, imported in (
        ("harmguard.core.files", "harmguard.guard"),
        ("harmguard.verify", "harmguard_export.parity"),
        ("benchmarks.training.cost", "harmguard.cli._bulk"),
    ):
        assert any(f"{importer} -> {imported}" in row for row in rows), done.stdout


def test_the_page_is_short_linked_and_names_what_is_there() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 100
    for page in ("README.md", "CONTRIBUTING.md"):
        assert "docs/architecture.md" in (ROOT / page).read_text(encoding="utf-8"), page
    for folder in ("harmguard", "export/harmguard_export"):
        for inner in sorted((ROOT / folder).iterdir()):
            if inner.is_dir() and inner.name not in ("__pycache__", "models"):
                assert f"{inner.name}/`" in text, inner.name
    layers = re.search(r"^layers =\n((?:    .+\n)+)", (ROOT / ".importlinter").read_text(), re.M)
    assert layers is not None
    for layer in layers[1].split():
        assert f"\n{layer}" in text, layer


def test_paths_that_the_page_names_are_there() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for name in re.findall(r"`((?:tests|docs|export|benchmarks|harmguard)/[\w/.]+)`", text):
        if "NAME" not in name and "..." not in name:
            assert (ROOT / name).exists(), name
