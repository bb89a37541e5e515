"""The parts of a manifest: their types, and how each is read from the fields of `guard.json`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harmguard.bundle.coreml import COREML_FILES, Lengths
from harmguard.bundle.fields import MANIFEST, RECORD, Fields, wrong
from harmguard.core.encode import Template
from harmguard.errors import UnsafePathError, UnsupportedVersionError

FORMAT_VERSION = 3
"""What is written. Versions 1 (ONNX) and 2 (Core ML) are read too: see docs/bundle-format.md."""
REQUIRED_FILES = ("model.onnx", "tokenizer.json", "golden.jsonl")
KINDS = ("prompt", "exchange")
NORMALISATIONS = ("none", "views-1")
"""How a text is normalised before its tokens are taken; "none": not at all."""
_COREML_VERSION = 2
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
    normalisation: str = "none"
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
class OnnxRequires:
    """The ONNX opset of the graph and the oldest onnxruntime that runs it, as "1.20"."""

    opset: int
    onnxruntime: str
    runtime: str = "onnxruntime"


@dataclass(frozen=True)
class CoremlRequires:
    """The oldest system that runs a Core ML program, as "iOS18", and its specification version."""

    deployment: str
    specification: int
    runtime: str = "coreml"


def take_training_data(training: Fields) -> tuple[DataSource, ...] | None:
    """Read `training.data`; None where it is unknown. Raises ManifestError."""
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


def take_input(fields: Fields, coreml: bool, version: int) -> InputSpec:
    """Read `input`, as `version` of the format has it. Raises ManifestError."""
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
        normalisation=_normalisation(fields) if version == FORMAT_VERSION else "none",
        lengths=Lengths.take(fields.fields("lengths")) if coreml else None,
    )
    fields.end()
    if spec.lengths and spec.lengths.values[-1] != spec.max_tokens:
        raise wrong("input.max_tokens", spec.max_tokens, "the last of input.lengths.values")
    return spec


def _normalisation(fields: Fields) -> str:
    name = fields.string("normalisation")
    if name not in NORMALISATIONS:
        raise UnsupportedVersionError(
            f"{MANIFEST}: input.normalisation is {name[:40]!a}; expected "
            f"{' or '.join(NORMALISATIONS)}; likely a bundle made for a newer release of harmguard"
        )
    return name


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


def take_labels(top: Fields) -> tuple[str, ...]:
    """Read `labels`. Raises ManifestError."""
    labels = top.strings("labels")
    if labels != ("safe", "harmful"):
        raise wrong("labels", list(labels), '["safe", "harmful"], in this order')
    return labels


def take_output(fields: Fields) -> OutputSpec:
    """Read `output`. Raises ManifestError."""
    kind = fields.string("kind", "logits")
    temperature = fields.number(
        "temperature", lambda t: 0.01 <= t <= 100, "a number from 0.01 to 100"
    )
    fields.end()
    return OutputSpec(kind, temperature)


def take_thresholds(fields: Fields) -> dict[str, dict[str, Threshold]]:
    """Read `thresholds`: kind of input -> name -> operating point. Raises ManifestError."""
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


def take_precision(fields: Fields) -> Precision:
    """Read `precision`. Raises ManifestError."""
    parity = fields.rest.get("parity", 0)
    precision = Precision(
        recipe=fields.string("recipe"),
        exceptions=fields.strings("exceptions"),
        parity=fields.take("parity") if parity is None else fields.mapping("parity"),
    )
    fields.end()
    if precision.parity is not None and not precision.parity:
        raise wrong("precision.parity", {}, "null, or what was measured")
    return precision


def take_requires(fields: Fields, version: int) -> OnnxRequires | CoremlRequires:
    """Read `requires`, as `version` of the format has it. Raises ManifestError."""
    runtime = "onnxruntime"  # the only one of version 1, which does not name it
    if version != 1:
        runtime = fields.string(
            "runtime", "coreml" if version == _COREML_VERSION else "onnxruntime|coreml"
        )
    requires: OnnxRequires | CoremlRequires
    if runtime == "coreml":
        requires = CoremlRequires(
            deployment=fields.string("deployment", "iOS[0-9]{1,3}"),
            specification=fields.integer("specification", 1, 1000),
        )
    else:
        requires = OnnxRequires(
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


def take_files(fields: Fields, coreml: bool) -> dict[str, FileEntry]:
    """Read `files`: name -> size and hash. Raises ManifestError."""
    names = list(fields.rest)
    for name in names:
        check_file_name(name)
    # Some file systems ignore case: two such names would be one file there.
    own = [MANIFEST, RECORD]
    if len({name.casefold() for name in [*names, *own]}) != len(names) + len(own):
        expected = f"names that differ in more than case, and not {MANIFEST} or {RECORD}"
        raise wrong("files", names, expected)
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
