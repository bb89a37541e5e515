"""What the code asks an extra for is what the metadata gives it."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

from harmguard.errors import MissingExtraError
from harmguard.extras import require

ROOT = Path(__file__).resolve().parent.parent
# Distributions whose module has another name, or that bring it.
MODULES = {"scikit-learn": "sklearn", "optimum-onnx": "optimum", "ray": "pyarrow"}


def asked() -> list[tuple[str, str, str]]:
    """File, module and extra of every call of `require`."""
    calls = []
    for path in [*(ROOT / "harmguard").rglob("*.py"), *(ROOT / "export").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "require":
                texts = [str(n.value) for n in ast.walk(node) if isinstance(n, ast.Constant)]
                what = 1 if isinstance(node.args[0], ast.Constant) else 0
                extra = ast.literal_eval(node.keywords[0].value)
                calls += [(path.name, m, extra) for m in texts[what:] if m != extra]
    return calls


def test_every_module_that_is_asked_for_is_of_its_extra() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    assert len(asked()) >= 12
    for file, module, names in asked():
        lines = [line for name in names.split(",") for line in extras[name]]
        given = {re.split(r"[^\w-]", line)[0] for line in lines}
        assert module in given | {MODULES.get(name, "") for name in given}, (file, module, names)


def test_what_is_missing_is_named_with_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    message = r"the export needs onnx, not installed here; type: pip install 'harmguard\[export\]'"
    with pytest.raises(MissingExtraError, match=message):
        require("the export", "sys", "onnx", extra="export")
