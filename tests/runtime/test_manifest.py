"""The typed manifest and the strict JSON under it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harmguard import ManifestError, _json
from harmguard._manifest import Manifest


@pytest.fixture
def fields(small_bundle: Path) -> dict[str, Any]:
    """The parsed manifest of a bundle."""
    value: dict[str, Any] = json.loads((small_bundle / "guard.json").read_text())
    return value


def test_round_trip(fields: dict[str, Any]) -> None:
    manifest = Manifest.from_json(fields)
    assert manifest.to_json() == fields
    assert Manifest.from_bytes(json.dumps(manifest.to_json()).encode()) == manifest


def test_it_is_frozen(fields: dict[str, Any]) -> None:
    manifest = Manifest.from_json(fields)
    with pytest.raises(dataclasses.FrozenInstanceError):
        manifest.name = "other"  # type: ignore[misc]


def test_known_training_data(fields: dict[str, Any]) -> None:
    data = [
        {"source": "a", "licence": "MIT", "rows": 10},
        {"source": "b", "licence": "unknown", "rows": None},
    ]
    fields["training"]["data"] = data
    manifest = Manifest.from_json(fields)
    assert manifest.training_data is not None
    assert [source.rows for source in manifest.training_data] == [10, None]
    assert manifest.to_json()["training"]["data"] == data


def test_unknown_is_not_none(fields: dict[str, Any]) -> None:
    fields["training"]["data"] = []
    assert Manifest.from_json(fields).training_data == ()
    fields["training"]["data"] = "unknown"
    assert Manifest.from_json(fields).training_data is None
    fields["training"]["data"] = "secret"
    with pytest.raises(ManifestError, match=r"training.data is 'secret'; expected a list"):
        Manifest.from_json(fields)


def test_fields_of_others_are_kept(fields: dict[str, Any]) -> None:
    fields["x_team"] = {"owner": "me"}
    assert Manifest.from_json(fields).to_json() == fields


@pytest.mark.parametrize(
    "path",
    [
        "name", "version", "status", "licence", "base_model", "training", "input", "labels",
        "output", "thresholds", "precision", "requires", "metrics", "files", "format_version",
        "training.data", "training.recipe", "input.template", "input.max_tokens", "input.pad_id",
        "input.max_chars", "input.names", "input.dtype", "input.output", "output.kind",
        "output.temperature", "thresholds.exchange", "thresholds.prompt.default.rule",
        "precision.parity", "requires.opset", "input.template.prompt",
    ],
)  # fmt: skip
def test_every_field_is_required_and_typed(fields: dict[str, Any], path: str) -> None:
    *parents, last = path.split(".")
    inner = fields
    for name in parents:
        inner = inner[name]
    for wrong in (-1, False):
        inner[last] = wrong
        with pytest.raises(ManifestError, match=last):
            Manifest.from_json(fields)
    del inner[last]
    with pytest.raises(ManifestError, match=f"{path} is missing"):
        Manifest.from_json(fields)


@pytest.mark.parametrize("path", ["", "training", "input", "output", "thresholds", "requires"])
def test_unknown_fields_are_refused(fields: dict[str, Any], path: str) -> None:
    inner = fields[path] if path else fields
    inner["novelty"] = {}
    with pytest.raises(ManifestError, match=r"unknown field .*novelty"):
        Manifest.from_json(fields)


def test_long_values_are_not_repeated(fields: dict[str, Any]) -> None:
    fields["name"] = "x" * 100_000
    with pytest.raises(ManifestError, match="name is") as caught:
        Manifest.from_json(fields)
    assert len(str(caught.value)) < 300


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text() | st.floats(0, 1),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(JSON)
def test_any_json_is_a_manifest_error(value: Any) -> None:
    with pytest.raises(ManifestError):
        Manifest.from_json(value)


@settings(deadline=None)
@given(st.binary())
def test_any_bytes_are_a_manifest_error(data: bytes) -> None:
    with pytest.raises(ManifestError):
        Manifest.from_bytes(data)


@settings(deadline=None)
@given(st.lists(st.sampled_from(["name", "input", "thresholds", "files", "precision"])), JSON)
def test_any_value_in_any_field_is_accepted_or_a_manifest_error(path: list[str], junk: Any) -> None:
    value: Any = {"format_version": 1, **dict.fromkeys(path, junk)}
    with pytest.raises(ManifestError):
        Manifest.from_json(value)


def test_depth_is_counted_in_levels() -> None:
    deep = "[" * _json.MAX_DEPTH + "]" * _json.MAX_DEPTH
    assert _json.parse(deep.encode(), 100)
    with pytest.raises(ValueError, match="nested too deeply"):
        _json.parse(f"[{deep}]".encode(), 100)


@pytest.mark.parametrize(
    ("text", "plain"), [("a b \u00e9 \U0001f600", True), ("a\n", False), ("\x9b", False)]
)
def test_plain_text(text: str, plain: bool) -> None:
    assert _json.is_plain_text(text) is plain
