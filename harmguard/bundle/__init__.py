"""The bundle, a guard as a folder: read, checked, written. docs/bundle-format.md has the words."""

from __future__ import annotations

from harmguard.bundle.content import HASHED_AT_LOAD_BYTES
from harmguard.bundle.fields import RECORD
from harmguard.bundle.folder import (
    Bundle,
    check_file,
    check_graph,
    check_runtime,
    load_tokenizer,
    open_and_record,
    open_bundle,
    opening,
    require_onnx,
    version_key,
    write_bundle,
)
from harmguard.bundle.manifest import Manifest
from harmguard.bundle.regular import EMBEDDED
from harmguard.bundle.spec import Threshold

__all__ = [
    "EMBEDDED",
    "HASHED_AT_LOAD_BYTES",
    "RECORD",
    "Bundle",
    "Manifest",
    "Threshold",
    "check_file",
    "check_graph",
    "check_runtime",
    "load_tokenizer",
    "open_and_record",
    "open_bundle",
    "opening",
    "require_onnx",
    "version_key",
    "write_bundle",
]
