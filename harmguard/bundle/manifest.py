"""The manifest of a bundle, `guard.json`: typed, frozen, strict. See docs/bundle-format.md."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from harmguard.bundle import spec, strict_json
from harmguard.bundle.fields import MANIFEST, Fields, wrong
from harmguard.bundle.spec import (
    FORMAT_VERSION,
    CoremlRequires,
    DataSource,
    FileEntry,
    InputSpec,
    OnnxRequires,
    OutputSpec,
    Precision,
    Threshold,
)
from harmguard.errors import ManifestError, UnsupportedVersionError

MAX_MANIFEST_BYTES = 1 << 20
_BLANK = "0" * 64


@dataclass(frozen=True)
class Manifest:
    """A validated `guard.json`. `training_data` is None where it is unknown."""

    name: str
    version: str
    status: str
    licence: str
    base_model: str
    training_data: tuple[DataSource, ...] | None
    training_recipe: str
    input: InputSpec
    labels: tuple[str, ...]
    output: OutputSpec
    thresholds: Mapping[str, Mapping[str, Threshold]]
    precision: Precision
    requires: OnnxRequires | CoremlRequires
    metrics: Mapping[str, Any]
    files: Mapping[str, FileEntry]
    extensions: Mapping[str, Any] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION
    """The version that was read; what is written has `FORMAT_VERSION`."""

    @property
    def runtime(self) -> str:
        """What runs the model: "onnxruntime" or "coreml"."""
        return self.requires.runtime

    @staticmethod
    def from_bytes(data: bytes) -> Manifest:
        """Parse the bytes of a `guard.json`.

        Raises ManifestError, UnsupportedVersionError or UnsafePathError.
        """
        try:
            value = strict_json.parse(data, MAX_MANIFEST_BYTES)
        except ValueError as error:
            cause = "a damaged or hostile manifest"
            if data.startswith(b"version https://git-lfs"):
                cause = "a git-lfs pointer: run `git lfs pull`"
            raise ManifestError(f"{MANIFEST}: {error}; likely {cause}") from None
        if isinstance(value, dict) and value.get("format_version") == FORMAT_VERSION:
            _check_digest(data, value.pop("digest", None))
        return Manifest.from_json(value)

    @staticmethod
    def from_json(value: Any) -> Manifest:
        """Validate a parsed `guard.json` without its digest; the error names the field at fault."""
        top = Fields(value, "")
        version = top.integer("format_version", 0)
        if not 1 <= version <= FORMAT_VERSION:
            raise UnsupportedVersionError(
                f"{MANIFEST}: format_version is {version}; expected 1 to {FORMAT_VERSION}; "
                "likely a bundle made for another release of harmguard"
            )
        requires = spec.take_requires(top.fields("requires"), version)
        coreml = requires.runtime == "coreml"
        training = top.fields("training")
        manifest = Manifest(
            name=top.string("name", r"[a-z0-9][a-z0-9._-]{0,63}"),
            version=top.string("version", r"[0-9A-Za-z][0-9A-Za-z.+-]{0,31}"),
            status=top.string("status", "trial|release"),
            licence=top.string("licence"),
            base_model=top.string("base_model"),
            training_data=spec.take_training_data(training),
            training_recipe=training.string("recipe"),
            input=spec.take_input(top.fields("input"), coreml, version),
            labels=spec.take_labels(top),
            output=spec.take_output(top.fields("output")),
            thresholds=spec.take_thresholds(top.fields("thresholds")),
            precision=spec.take_precision(top.fields("precision")),
            requires=requires,
            metrics=top.mapping("metrics"),
            files=spec.take_files(top.fields("files"), coreml),
            extensions={key: top.take(key) for key in list(top.rest) if key.startswith("x_")},
            format_version=version,
        )
        training.end()
        top.end()
        _check_strings(value)
        return manifest

    @property
    def scripts(self) -> tuple[str, ...] | None:
        """Scripts (ISO 15924) of the letters trained on, as `metrics.scripts` has them; or None."""
        found = self.metrics.get("scripts")
        return tuple(found) if isinstance(found, list) else None

    def to_bytes(self) -> bytes:
        """The bytes of a `guard.json`, its digest included."""
        value = self.to_json()
        first = {"format_version": value.pop("format_version"), "digest": _BLANK}
        text = json.dumps({**first, **value}, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        return seal(text.encode())

    def to_json(self) -> dict[str, Any]:
        """The JSON object, in `FORMAT_VERSION`, that `from_json` reads back to the same guard."""
        data = self.training_data
        return {
            "format_version": FORMAT_VERSION,
            "name": self.name,
            "version": self.version,
            "status": self.status,
            "licence": self.licence,
            "base_model": self.base_model,
            "training": {
                "data": "unknown" if data is None else [asdict(source) for source in data],
                "recipe": self.training_recipe,
            },
            "input": {
                "template": self.input.template.to_json(),
                "max_tokens": self.input.max_tokens,
                "pad_id": self.input.pad_id,
                "max_chars": self.input.max_chars,
                "names": list(self.input.names),
                "dtype": self.input.dtype,
                "output": self.input.output,
                "normalisation": self.input.normalisation,
                **({"lengths": self.input.lengths.to_json()} if self.input.lengths else {}),
            },
            "labels": list(self.labels),
            "output": asdict(self.output),
            "thresholds": {
                kind: {name: asdict(point) for name, point in points.items()}
                for kind, points in self.thresholds.items()
            },
            "precision": {
                "recipe": self.precision.recipe,
                "exceptions": list(self.precision.exceptions),
                "parity": None if self.precision.parity is None else dict(self.precision.parity),
            },
            "requires": {"runtime": self.requires.runtime, **asdict(self.requires)},
            "metrics": dict(self.metrics),
            "files": {name: asdict(entry) for name, entry in self.files.items()},
            **self.extensions,
        }


def seal(data: bytes) -> bytes:
    """A `guard.json` with the right digest in place of the one that it has, if it has one."""
    place = re.search(rb'"digest"\s*:\s*"([0-9a-f]{64})"', data)
    if place is None:
        return data
    head, rest = data[: place.start(1)], data[place.end(1) :]
    return head + hashlib.sha256(head + _BLANK.encode() + rest).hexdigest().encode() + rest


def _check_digest(data: bytes, digest: Any) -> None:
    """Compare the manifest's digest with its bytes, in which 64 zeros stand for the digest."""
    if not isinstance(digest, str) or not re.fullmatch("[0-9a-f]{64}", digest):
        raise wrong("digest", digest, "a sha256 in lower-case hexadecimal")
    if data.count(digest.encode()) != 1:
        raise wrong("digest", digest, "it to stand in the file once, without escapes")
    found = hashlib.sha256(data.replace(digest.encode(), _BLANK.encode())).hexdigest()
    if found != digest:
        raise ManifestError(
            f"{MANIFEST}: its content has the digest {found[:12]}...; expected {digest[:12]}... as "
            "it says; likely damaged, or edited by hand: `harmguard calibrate` writes other "
            "thresholds"
        )


def _check_strings(value: Any) -> None:
    for text in _strings(value):
        if not strict_json.is_plain_text(text):
            raise ManifestError(
                f"{MANIFEST}: a string of {len(text)} characters holds control characters or lone "
                "surrogates; expected printable text; likely a hostile or hand-made manifest"
            )


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
