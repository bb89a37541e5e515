"""Which part may import which: read off the source, so that a circle shows where it begins."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# From below: a part imports from those before it and from itself.
LAYERS = ("core", "bundle", "rows", "checkpoint", "training")
HEAVY = ("torch", "transformers")


def imports(path: Path) -> set[str]:
    """The modules that a file names in its imports, wherever they stand."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.update({node.module, *(f"{node.module}.{alias.name}" for alias in node.names)})
    return found


def modules(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_imports_nothing_above_it(layer: str) -> None:
    above = tuple(f"harmguard.{name}" for name in LAYERS[LAYERS.index(layer) + 1 :])
    for path in modules(f"harmguard/{layer}"):
        wrong = [name for name in imports(path) if name.startswith((*above, "harmguard.cli"))]
        assert not wrong, f"{path}: {wrong}"


def test_only_commands_know_the_exporter() -> None:
    for path in modules("harmguard"):
        if path.parent.name != "cli":
            assert not [n for n in imports(path) if n.startswith("harmguard_export")], path


def test_rows_need_no_torch() -> None:
    for layer in ("core", "bundle", "rows"):
        for path in modules(f"harmguard/{layer}"):
            assert not [n for n in imports(path) if n.split(".")[0] in HEAVY], path
