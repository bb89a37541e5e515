"""The folder of a guard on disk: read, check, write, verify. docs/bundle-format.md has the words.

bundle = open_bundle(Path("guards/mine"))     # every file checked
bundle.manifest.thresholds["prompt"]["default"].value
write_bundle(Path("guards/new"), manifest_fields, {"model.onnx": model_path, ...})
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tokenizers import Tokenizer

from harmguard.bundle import content, strict_json
from harmguard.bundle.content import Content, Hashing, check_content, check_hash, check_size
from harmguard.bundle.coreml import COREML_FILES
from harmguard.bundle.fields import MANIFEST, RECORD, wrong
from harmguard.bundle.graph_rules import Weight, check_graph_file
from harmguard.bundle.manifest import MAX_MANIFEST_BYTES, Manifest
from harmguard.bundle.regular import (
    EMBEDDED,
    check_unchanged,
    open_regular,
    read_exactly,
    read_up_to,
)
from harmguard.bundle.spec import REQUIRED_FILES, FileEntry, OnnxRequires, check_file_name
from harmguard.bundle.tokenizer_rules import check_tokenizer
from harmguard.core.files import new_folder, write_file
from harmguard.core.text import one_line
from harmguard.errors import (
    BundleFileError,
    BundleNotFoundError,
    GraphMismatchError,
    TokenizerError,
    UnsafePathError,
    UnsupportedVersionError,
    WrongRuntimeError,
)

_README = "README.md"
_KEPT = ("model.onnx", "tokenizer.json")
_CHUNK = 1 << 20


class GraphValue(Protocol):
    """An input or output of a graph, as onnxruntime's session lists them."""

    name: str
    type: str
    shape: Sequence[int | str | None]


@dataclass(frozen=True)
class Bundle:
    """A folder whose manifest and files passed every check of `open_bundle`."""

    folder: Path
    manifest: Manifest
    weights: tuple[Weight, ...] = ()
    """The constants of the graph that lie in files beside it."""
    _contents: Mapping[str, Content] = field(default_factory=dict, repr=False)
    _hashing: Hashing | None = field(default=None, repr=False, compare=False)

    def check_hashes(self) -> None:
        """Wait until the hash of every file was checked; BundleFileError for a wrong one."""
        if self._hashing is not None:
            self._hashing.wait()

    def path(self, name: str) -> Path:
        """Path of a file that the manifest lists; KeyError for any other name."""
        self.manifest.files[name]
        return self.folder / name

    def read(self, name: str) -> bytes:
        """The bytes of a file that the manifest lists, those whose hash was checked.

        KeyError for any other name; BundleFileError for a file that has been changed.
        """
        entry = self.manifest.files[name]
        found = self._contents.get(name)
        if found is not None and found.data is not None:
            return found.data
        with open_regular(self.folder, name) as file:
            data = read_exactly(file, name, entry.size)
        check_hash(name, entry, hashlib.sha256(data).hexdigest())
        return data

    def check_weights(self) -> None:
        """Raise BundleFileError if a file of weights is not the one that was checked any more."""
        for name in {weight.location for weight in self.weights}:
            check_unchanged(self.folder, name, self._contents[name].identity)


def open_bundle(folder: str | os.PathLike[str]) -> Bundle:
    """Read and check a bundle: manifest, sizes, hashes, paths inside the ONNX file.

    Raises BundleNotFoundError, ManifestError, UnsupportedVersionError, BundleFileError,
    UnsafePathError, UnsafeGraphError, GraphMismatchError or TokenizerError. `load_tokenizer` and
    `check_graph` check what the libraries make of tokenizer and graph.
    """
    folder = Path(folder)
    with opening(folder) as bundle:
        return bundle


@contextmanager
def opening(folder: Path) -> Iterator[Bundle]:
    """`open_bundle`, with the hashes of large files checked beside what is done in the block.

    What is made of the bundle there is to be used after the block alone: leaving it raises
    BundleFileError where a hash is wrong. `Bundle.check_hashes` waits for them within it.
    """
    with _open(folder, _read_record(folder)) as (bundle, _):
        yield bundle


def open_and_record(folder: Path) -> tuple[Bundle, bool | None]:
    """Open a bundle with every file hashed, and record the large ones in the folder.

    Returns the bundle and whether the record was written: None without large files, False
    where the folder cannot be written to. Raises what `open_bundle` raises.
    """
    with _open(folder, {}) as (bundle, hashed):
        pass
    if not hashed:
        return bundle, None
    try:
        write_file(folder / RECORD, json.dumps({"files": hashed}, indent=2), replace=True)
    except OSError:
        return bundle, False
    return bundle, True


@contextmanager
def _open(folder: Path, record: Mapping[str, Any]) -> Iterator[tuple[Bundle, dict[str, Any]]]:
    """The bundle, checked when the block ends, and the record of its large files."""
    if not folder.is_dir():
        if folder == EMBEDDED:
            raise BundleNotFoundError(
                f"the guard that comes with the package is not at {str(folder)!r}; expected it "
                "there; likely a program frozen without the package's data: for PyInstaller the "
                "wheel has a hook (harmguard._pyinstaller), other tools need harmguard/models"
            )
        raise BundleNotFoundError(
            f"no folder at {str(folder)!r}; expected a bundle's folder; likely a wrong path "
            "(for a guard of an installed package: HarmGuard.installed(name), or installed:NAME)"
        )
    if not os.path.lexists(folder / MANIFEST):
        raise BundleNotFoundError(
            f"{str(folder)!r} holds no {MANIFEST}; expected it beside the model; likely an "
            "unfinished copy, or a checkpoint: `harmguard export` makes a bundle of one"
        )
    with open_regular(folder, MANIFEST) as file:
        manifest = Manifest.from_bytes(read_up_to(file, MAX_MANIFEST_BYTES + 1))
    for name, entry in manifest.files.items():
        check_size(name, entry)
    contents = {
        name: check_content(folder, name, manifest.files[name], record.get(name), keep=True)
        for name in _KEPT
        if name in manifest.files
    }
    others = {n: e for n, e in manifest.files.items() if n not in contents}
    with content.checking(folder, others, record) as (rest, hashing):
        weights = _check_parts(manifest, contents)
        contents.update(rest)
        large = {
            name: found.record
            for name, found in contents.items()
            if found.record["size"] >= content.HASHED_AT_LOAD_BYTES
        }
        yield Bundle(folder, manifest, weights, contents, hashing), large


def _check_parts(manifest: Manifest, contents: Mapping[str, Content]) -> tuple[Weight, ...]:
    """Check graph and tokenizer, and that every listed file has a use; the graph's weights."""
    known = {*REQUIRED_FILES, *COREML_FILES, _README}
    data = {n: entry.size for n, entry in manifest.files.items() if n not in known}
    weights: tuple[Weight, ...] = ()
    if isinstance(manifest.requires, OnnxRequires):
        graph = contents["model.onnx"].data or b""
        weights = check_graph_file(graph, data, manifest.requires.opset, manifest.input.max_tokens)
    unused = sorted(data.keys() - {weight.location for weight in weights})
    if unused:
        raise wrong("files", unused, f"the files of the format, {_README}, and what the graph uses")
    check_tokenizer(contents["tokenizer.json"].data or b"")
    return weights


def load_tokenizer(bundle: Bundle) -> Tokenizer:
    """The bundle's tokenizer, checked: nothing is cut or padded, the template's ids are its own.

    Raises TokenizerError.
    """
    return _tokenizer(bundle.read("tokenizer.json"), bundle.manifest)


def require_onnx(bundle: Bundle) -> OnnxRequires:
    """What the bundle needs of onnxruntime; WrongRuntimeError for one that it does not run."""
    requires = bundle.manifest.requires
    if not isinstance(requires, OnnxRequires):
        raise WrongRuntimeError(
            f"{bundle.folder.name!a} is a bundle for {requires.runtime}; expected one for "
            "onnxruntime; likely made with --target coreml, for apps on iPhone and Mac: export "
            "the checkpoint again without it"
        )
    return requires


def check_graph(
    inputs: Sequence[GraphValue], outputs: Sequence[GraphValue], manifest: Manifest
) -> None:
    """Compare a session's `get_inputs()` and `get_outputs()` with the manifest.

    Inputs: the manifest's names in any order, int64 [batch, length], both dimensions free.
    Output: float32 [batch, labels]. Raises GraphMismatchError.
    """
    found = {value.name for value in inputs}
    if found != set(manifest.input.names) or len(inputs) != len(found):
        _mismatch("inputs are named", sorted(found), sorted(manifest.input.names))
    for value in inputs:
        if value.type != f"tensor({manifest.input.dtype})":
            _mismatch(f"input {value.name} is", value.type, f"tensor({manifest.input.dtype})")
        if len(value.shape) != 2 or any(isinstance(size, int) for size in value.shape):
            _mismatch(f"input {value.name} has shape", value.shape, "[batch, length], both free")
    named = {value.name: value for value in outputs}
    output = named.get(manifest.input.output)
    if output is None:
        _mismatch("outputs are named", sorted(named), [manifest.input.output])
    elif output.type != "tensor(float)":
        _mismatch(f"output {output.name} is", output.type, "tensor(float)")
    elif len(output.shape) != 2 or output.shape[1] != len(manifest.labels):
        _mismatch(
            f"output {output.name} has shape", output.shape, f"[batch, {len(manifest.labels)}]"
        )


def check_runtime(installed: str, requires: OnnxRequires) -> None:
    """Raise UnsupportedVersionError if onnxruntime `installed` is older than the bundle needs."""
    if version_key(installed) < version_key(requires.onnxruntime):
        raise UnsupportedVersionError(
            f"onnxruntime {installed} is installed; expected {requires.onnxruntime} or "
            "newer; likely an old environment: pip install --upgrade onnxruntime"
        )


def version_key(version: str) -> tuple[int, int]:
    """Major and minor number of a release, to be compared."""
    major, minor, *_ = [*version.split("."), "0"]
    return int(major), int("".join(c for c in minor if c.isdigit()) or 0)


def write_bundle(out: Path, manifest: Mapping[str, Any], files: Mapping[str, Path | bytes]) -> Path:
    """Write a bundle to the new folder `out` and return it.

    `manifest` is guard.json as a dict without `digest` and `files`, of any version that is read;
    `files` maps names to contents or to the paths they are copied from. All is written to a
    folder beside `out`, the manifest last and in the newest version, checked as a reader would,
    and renamed: `out` is either absent or complete.

    Raises OutputExistsError, and whatever `open_bundle` and `load_tokenizer` raise.
    """
    out = Path(out)
    with new_folder(out) as aside:
        for name in files:
            check_file_name(name)
        for name in COREML_FILES:
            if name in files:
                (aside / name).parent.mkdir(parents=True, exist_ok=True)
        entries = {name: _write_file(aside / name, source) for name, source in files.items()}
        full = Manifest.from_json(
            {**manifest, "files": {name: asdict(entry) for name, entry in entries.items()}}
        )
        (aside / MANIFEST).write_bytes(full.to_bytes())
        load_tokenizer(open_bundle(aside))
    return out


def _write_file(path: Path, source: Path | bytes) -> FileEntry:
    digest, size = hashlib.sha256(), 0
    with path.open("xb") as out:
        if isinstance(source, bytes):
            out.write(source)
            digest.update(source)
            size = len(source)
        else:
            with source.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    out.write(chunk)
                    digest.update(chunk)
                    size += len(chunk)
    return FileEntry(size, digest.hexdigest())


def check_file(folder: Path, name: str, entry: FileEntry, record: Any) -> None:
    """Check size and hash of one file, as those of a bundle are. Raises what they raise."""
    check_size(name, entry)
    check_content(folder, name, entry, record)


def _read_record(folder: Path) -> dict[str, Any]:
    """What `verify` recorded about large files; an unreadable record only costs the hashing."""
    try:
        with open_regular(folder, RECORD) as file:
            data = read_up_to(file, MAX_MANIFEST_BYTES + 1)
        files = strict_json.parse(data, MAX_MANIFEST_BYTES)["files"]
    except (OSError, ValueError, LookupError, TypeError, BundleFileError, UnsafePathError):
        return {}
    return files if isinstance(files, dict) else {}


def _tokenizer(data: bytes, manifest: Manifest) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_buffer(data)
    except Exception as error:  # tokenizers raises bare Exception
        raise TokenizerError(
            f"tokenizer.json cannot be read ({type(error).__name__}); expected the file of a fast "
            "tokenizer; likely damaged, or newer than the installed tokenizers package"
        ) from None
    for name in ("truncation", "padding"):
        if getattr(tokenizer, name) is not None:
            raise TokenizerError(
                f"tokenizer.json has {name} set; expected null, or text would be cut or padded "
                "silently; likely copied from a checkpoint as it stands"
            )
    unknown = getattr(tokenizer.model, "unk_token", None)
    if unknown is not None and tokenizer.model.token_to_id(unknown) is None:
        raise TokenizerError(
            f"tokenizer.json has no {one_line(ascii(unknown))}, its unknown token, in the "
            "vocabulary; expected it: the library stops at unknown text; likely made by hand"
        )
    pieces = {*manifest.input.template.prompt, *manifest.input.template.exchange}
    for piece in pieces:
        if piece.token is not None and tokenizer.token_to_id(piece.token) != piece.id:
            raise TokenizerError(
                f"tokenizer.json gives {piece.token!a} the id {tokenizer.token_to_id(piece.token)};"
                f" expected {piece.id} as the template says; likely another model's tokenizer"
            )
    return tokenizer


def _mismatch(what: str, found: object, expected: object) -> None:
    raise GraphMismatchError(
        f"model.onnx: {what} {one_line(ascii(found))}; expected {expected!a} as {MANIFEST} says; "
        "likely a model file of another bundle"
    )
