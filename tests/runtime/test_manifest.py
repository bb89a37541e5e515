"""The typed manifest and the strict JSON under it."""

from __future__ import annotations

import copy
import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harmguard.bundle import strict_json
from harmguard.bundle.coreml import COREML_FILES
from harmguard.bundle.manifest import Manifest, seal
from harmguard.errors import ManifestError, UnsafePathError, UnsupportedVersionError


@pytest.fixture
def fields(small_bundle: Path) -> dict[str, Any]:
    """The parsed manifest of a bundle, without its digest."""
    value: dict[str, Any] = json.loads((small_bundle / "guard.json").read_text())
    del value["digest"]
    return value


def test_round_trip(fields: dict[str, Any]) -> None:
    manifest = Manifest.from_json(fields)
    assert manifest.to_json() == fields
    assert Manifest.from_bytes(manifest.to_bytes()) == manifest


@pytest.mark.parametrize("bit", range(8))
def test_a_flipped_bit_anywhere_is_seen(small_bundle: Path, bit: int) -> None:
    data = (small_bundle / "guard.json").read_bytes()
    for place in range(0, len(data), 7):
        changed = bytearray(data)
        changed[place] ^= 1 << bit
        with pytest.raises((ManifestError, UnsafePathError)):
            Manifest.from_bytes(bytes(changed))


def test_a_threshold_that_was_edited_is_seen(small_bundle: Path) -> None:
    data = (small_bundle / "guard.json").read_bytes()
    edited = data.replace(b'"value": 0.5', b'"value": 0.4')
    assert edited != data
    with pytest.raises(ManifestError, match=r"content has the digest .*; expected .* as it says"):
        Manifest.from_bytes(edited)
    assert Manifest.from_bytes(seal(edited)).thresholds["prompt"]["default"].value == 0.4


@pytest.mark.parametrize(
    ("digest", "match"),
    [
        (b'"digest": 1,', "digest is 1; expected a sha256"),
        (b'"digest": "AB",', "digest is 'AB'; expected a sha256"),
        (b'"digest": "' + b"a" * 64 + b'", "x_": "' + b"a" * 64 + b'",', "stand in the file once"),
        (b'"digest": "\\u0061' + b"a" * 63 + b'",', "without escapes"),
        (b"", "digest is None"),
    ],
)
def test_a_digest_that_cannot_be_checked(small_bundle: Path, digest: bytes, match: str) -> None:
    data = (small_bundle / "guard.json").read_bytes()
    changed = re.sub(rb'"digest": "[0-9a-f]{64}",', lambda _: digest, data)
    with pytest.raises(ManifestError, match=match):
        Manifest.from_bytes(changed)


def test_a_manifest_without_a_digest_is_sealed_as_it_is() -> None:
    assert seal(b'{"format_version": 1}') == b'{"format_version": 1}'


def test_normalisation_of_a_newer_release(fields: dict[str, Any]) -> None:
    fields["input"]["normalisation"] = "views-99"
    with pytest.raises(UnsupportedVersionError, match="normalisation is 'views-99'; expected none"):
        Manifest.from_json(fields)


def test_versions_1_and_2_are_read(fields: dict[str, Any]) -> None:
    """Version 1 had no runtime and no normalisation, version 2 was Core ML's."""
    newest = copy.deepcopy(fields)
    del fields["input"]["normalisation"], fields["requires"]["runtime"]
    fields["format_version"] = 1
    assert Manifest.from_json(fields).format_version == 1
    assert Manifest.from_json(fields).to_json() == newest
    with pytest.raises(ManifestError, match=r"unknown field 'requires.runtime'"):
        Manifest.from_json({**fields, "requires": newest["requires"]})
    fields["format_version"] = 2
    fields["input"] |= {
        "dtype": "int32",
        "lengths": {
            "kind": "enumerated",
            "values": [fields["input"]["max_tokens"]],
            "left_out": [],
        },
    }
    fields["requires"] = {"runtime": "coreml", "deployment": "iOS18", "specification": 9}
    del fields["files"]["model.onnx"]
    fields["files"] |= {key: {"size": 1, "sha256": "0" * 64} for key in COREML_FILES}
    manifest = Manifest.from_json(fields)
    assert (manifest.runtime, manifest.input.normalisation) == ("coreml", "none")
    assert Manifest.from_json(manifest.to_json()).requires == manifest.requires
    with pytest.raises(ManifestError, match=r"requires.runtime is 'onnxruntime'"):
        Manifest.from_json({**fields, "requires": newest["requires"]})


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
        "input.max_chars", "input.names", "input.dtype", "input.output", "input.normalisation",
        "output.kind", "requires.runtime",
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
    deep = "[" * strict_json.MAX_DEPTH + "]" * strict_json.MAX_DEPTH
    assert strict_json.parse(deep.encode(), 100)
    with pytest.raises(ValueError, match="nested too deeply"):
        strict_json.parse(f"[{deep}]".encode(), 100)


@pytest.mark.parametrize(
    ("text", "plain"), [("a b \u00e9 \U0001f600", True), ("a\n", False), ("\x9b", False)]
)
def test_plain_text(text: str, plain: bool) -> None:
    assert strict_json.is_plain_text(text) is plain
