"""The manifest of a bundle, `guard.json`: typed, frozen, strict. See docs/bundle-format.md."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from harmguard import _json
from harmguard._coreml_manifest import COREML_FILES, COREML_VERSION, CoremlRequires, Lengths
from harmguard._encode import Template
from harmguard._json import MANIFEST, Fields, wrong
from harmguard.errors import ManifestError, UnsafePathError, UnsupportedVersionError

FORMAT_VERSION = 1
MAX_MANIFEST_BYTES = 1 << 20
REQUIRED_FILES = ("model.onnx", "tokenizer.json", "golden.jsonl")
KINDS = ("prompt", "exchange")
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_GRAPH_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


@dataclass(frozen=True)
class FileEntry:
    """Size in bytes and lower-case hexadecimal sha256 of one file."""

    size: int
    sha256: str


@dataclass(frozen=True)
class DataSource:
    """One source of the training data; `rows` is None where the number is not known."""

    source: str
    licence: str
    rows: int | None


@dataclass(frozen=True)
class Threshold:
    """An operating point: harmful means score >= value; `set` and `rule` say what chose it."""

    value: float
    set: str | None
    rule: str


@dataclass(frozen=True)
class InputSpec:
    """How a pair becomes the graph's input; `max_chars` bounds each text, in code points."""

    template: Template
    max_tokens: int
    pad_id: int
    max_chars: int
    names: tuple[str, ...]
    dtype: str
    output: str
    lengths: Lengths | None = None
    """None: any length (ONNX)."""


@dataclass(frozen=True)
class OutputSpec:
    """How the graph's output becomes a score: softmax(logits / temperature)[1]."""

    kind: str
    temperature: float


@dataclass(frozen=True)
class Precision:
    """Recipe, the layers it left alone, and its measured agreement with the checkpoint."""

    recipe: str
    exceptions: tuple[str, ...]
    parity: Mapping[str, Any] | None


@dataclass(frozen=True)
class Requires:
    """The ONNX opset of the graph and the oldest onnxruntime that runs it, as "1.20"."""

    opset: int
    onnxruntime: str


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
    requires: Requires | CoremlRequires
    metrics: Mapping[str, Any]
    files: Mapping[str, FileEntry]
    extensions: Mapping[str, Any] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    @property
    def runtime(self) -> str:
        """What runs the model: "onnxruntime" or "coreml"."""
        return "coreml" if isinstance(self.requires, CoremlRequires) else "onnxruntime"

    @staticmethod
    def from_bytes(data: bytes) -> Manifest:
        """Parse the bytes of a `guard.json`.

        Raises ManifestError, UnsupportedVersionError or UnsafePathError.
        """
        try:
            value = _json.parse(data, MAX_MANIFEST_BYTES)
        except ValueError as error:
            cause = "a damaged or hostile manifest"
            if data.startswith(b"version https://git-lfs"):
                cause = "a git-lfs pointer: run `git lfs pull`"
            raise ManifestError(f"{MANIFEST}: {error}; likely {cause}") from None
        return Manifest.from_json(value)

    @staticmethod
    def from_json(value: Any) -> Manifest:
        """Validate a parsed `guard.json`; the field at fault is named in the error."""
        top = Fields(value, "")
        version = top.integer("format_version", 0)
        if version not in (FORMAT_VERSION, COREML_VERSION):
            raise UnsupportedVersionError(
                f"{MANIFEST}: format_version is {version}; expected {FORMAT_VERSION} or "
                f"{COREML_VERSION} (Core ML); "
                "likely a bundle made for another release of harmguard"
            )
        coreml = version == COREML_VERSION
        training = top.fields("training")
        manifest = Manifest(
            name=top.string("name", r"[a-z0-9][a-z0-9._-]{0,63}"),
            version=top.string("version", r"[0-9A-Za-z][0-9A-Za-z.+-]{0,31}"),
            status=top.string("status", "trial|release"),
            licence=top.string("licence"),
            base_model=top.string("base_model"),
            training_data=_training_data(training),
            training_recipe=training.string("recipe"),
            input=_input(top.fields("input"), coreml),
            labels=_labels(top),
            output=_output(top.fields("output")),
            thresholds=_thresholds(top.fields("thresholds")),
            precision=_precision(top.fields("precision")),
            requires=_requires(top.fields("requires"), coreml),
            metrics=top.mapping("metrics"),
            files=_files(top.fields("files"), coreml),
            extensions={key: top.take(key) for key in list(top.rest) if key.startswith("x_")},
            format_version=version,
        )
        training.end()
        top.end()
        _check_strings(value)
        return manifest

    def to_json(self) -> dict[str, Any]:
        """The JSON object that `from_json` reads back to an equal manifest."""
        data = self.training_data
        return {
            "format_version": self.format_version,
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
            "requires": asdict(self.requires),
            "metrics": dict(self.metrics),
            "files": {name: asdict(entry) for name, entry in self.files.items()},
            **self.extensions,
        }


def _training_data(training: Fields) -> tuple[DataSource, ...] | None:
    if training.rest.get("data") == "unknown":
        training.take("data")
        return None
    sources = []
    for number, value in enumerate(training.list("data")):
        item = Fields(value, f"training.data[{number}]")
        rows = item.take("rows") if item.rest.get("rows", 0) is None else item.integer("rows", 0)
        sources.append(DataSource(item.string("source"), item.string("licence"), rows))
        item.end()
    return tuple(sources)


def _input(fields: Fields, coreml: bool) -> InputSpec:
    template = fields.fields("template")
    texts = {"prompt": ["prompt"], "exchange": ["prompt", "response"]}
    pieces = {kind: _template(template, kind, texts[kind]) for kind in KINDS}
    template.end()
    # The longest template must leave room for text in every window.
    least = max(len(part) for part in pieces.values()) + 8
    names = fields.strings("names")
    if names not in (_GRAPH_INPUTS, _GRAPH_INPUTS[:2]):
        raise wrong("input.names", list(names), f"{list(_GRAPH_INPUTS)}, the last optional")
    spec = InputSpec(
        template=Template.from_json(pieces),
        max_tokens=fields.integer("max_tokens", least, 1 << 20),
        pad_id=fields.integer("pad_id", 0, 1 << 31),
        max_chars=fields.integer("max_chars", 1, 1 << 31),
        names=names,
        dtype=fields.string("dtype", "int32" if coreml else "int64"),
        output=fields.string("output", "logits"),
        lengths=Lengths.take(fields.fields("lengths")) if coreml else None,
    )
    fields.end()
    if spec.lengths and spec.lengths.values[-1] != spec.max_tokens:
        raise wrong("input.max_tokens", spec.max_tokens, "the last of input.lengths.values")
    return spec


def _template(template: Fields, kind: str, texts: list[str]) -> list[dict[str, Any]]:
    pieces = template.list(kind)
    found = []
    for number, value in enumerate(pieces):
        piece = Fields(value, f"input.template.{kind}[{number}]")
        piece.integer("type", 0, 7)
        if "text" in piece.rest:
            found.append(piece.string("text", "prompt|response"))
        else:
            piece.string("token")
            piece.integer("id", 0, 1 << 31)
        piece.end()
    if found != texts or len(pieces) > 16:
        raise wrong(f"input.template.{kind}", found, f"at most 16 pieces with the texts {texts}")
    return pieces


def _labels(top: Fields) -> tuple[str, ...]:
    labels = top.strings("labels")
    if labels != ("safe", "harmful"):
        raise wrong("labels", list(labels), '["safe", "harmful"], in this order')
    return labels


def _output(fields: Fields) -> OutputSpec:
    kind = fields.string("kind", "logits")
    temperature = fields.number(
        "temperature", lambda t: 0.01 <= t <= 100, "a number from 0.01 to 100"
    )
    fields.end()
    return OutputSpec(kind, temperature)


def _thresholds(fields: Fields) -> dict[str, dict[str, Threshold]]:
    kinds: dict[str, dict[str, Threshold]] = {}
    for kind in KINDS:
        points = fields.fields(kind)
        kinds[kind] = {}
        for name in ["default", *(n for n in points.rest if n != "default")]:
            if not re.fullmatch(r"[a-z][a-z0-9_]{0,31}", name):
                raise wrong(f"thresholds.{kind}", name, "names of a-z, 0-9 and _")
            point = points.fields(name)
            unset = point.rest.get("set", "") is None
            kinds[kind][name] = Threshold(
                value=point.number("value", lambda v: 0 <= v <= 1, "a number from 0 to 1"),
                set=point.take("set") if unset else point.string("set"),
                rule=point.string("rule"),
            )
            point.end()
    fields.end()
    return kinds


def _precision(fields: Fields) -> Precision:
    parity = fields.rest.get("parity", 0)
    precision = Precision(
        recipe=fields.string("recipe"),
        exceptions=fields.strings("exceptions"),
        parity=fields.take("parity") if parity is None else fields.mapping("parity"),
    )
    fields.end()
    return precision


def _requires(fields: Fields, coreml: bool) -> Requires | CoremlRequires:
    if coreml:
        return CoremlRequires.take(fields)
    requires = Requires(
        opset=fields.integer("opset", 1, 1000),
        onnxruntime=fields.string("onnxruntime", r"[0-9]{1,4}(\.[0-9]{1,4}){1,2}"),
    )
    fields.end()
    return requires


def check_file_name(name: str) -> None:
    """Refuse a name that is not one plain component: nothing may point out of the folder.

    The files of a Core ML package, which is a folder, are the exception, each by its whole name.
    """
    if name not in COREML_FILES and not _FILE_NAME.fullmatch(name):
        shown = ascii(name) if len(name) <= 80 else f"a name of {len(name)} characters"
        raise UnsafePathError(
            f"file name {shown}; expected one plain name (A-Z a-z 0-9 . _ -, no folder, at most "
            "128 characters); likely a hostile or hand-made bundle"
        )


def _files(fields: Fields, coreml: bool) -> dict[str, FileEntry]:
    names = list(fields.rest)
    for name in names:
        check_file_name(name)
    # Some file systems ignore case: two such names would be one file there.
    if len({name.casefold() for name in [*names, MANIFEST]}) != len(names) + 1:
        raise wrong("files", names, f"names that differ in more than case, and not {MANIFEST}")
    required = (*COREML_FILES, *REQUIRED_FILES[1:]) if coreml else REQUIRED_FILES
    if not coreml and (strange := [name for name in names if name in COREML_FILES]):
        raise wrong("files", strange, "them in bundles for Core ML only")
    if missing := [name for name in required if name not in names]:
        raise wrong("files", names, f"entries for {', '.join(missing)}")
    entries = {}
    for name in names:
        item = fields.fields(name)
        entries[name] = FileEntry(item.integer("size", 0), item.string("sha256", "[0-9a-f]{64}"))
        item.end()
    return entries


def _check_strings(value: Any) -> None:
    for text in _strings(value):
        if not _json.is_plain_text(text):
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
