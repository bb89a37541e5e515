"""The folder of a guard on disk: read, check, write, verify. docs/bundle-format.md has the words.

bundle = open_bundle(Path("guards/mine"))     # every file checked
bundle.manifest.thresholds["prompt"]["default"].value
write_bundle(Path("guards/new"), manifest_fields, {"model.onnx": model_path, ...})
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from tokenizers import Tokenizer

from harmguard.bundle import onnx_file, strict_json
from harmguard.bundle.coreml import COREML_FILES
from harmguard.bundle.fields import MANIFEST
from harmguard.bundle.manifest import MAX_MANIFEST_BYTES, Manifest
from harmguard.bundle.spec import FileEntry, OnnxRequires, check_file_name
from harmguard.core.files import new_folder, write_file
from harmguard.errors import (
    BundleFileError,
    BundleNotFoundError,
    GraphMismatchError,
    TokenizerError,
    UnsafePathError,
    UnsupportedVersionError,
    WrongRuntimeError,
)

EMBEDDED = Path(__file__).parent.parent / "models" / "mini"
"""The guard that comes with the package."""
# Smaller files are hashed at every load; larger ones once, by verify: see RECORD.
HASHED_AT_LOAD_BYTES = 64_000_000
# What verify leaves in the folder about the large files that it has hashed.
RECORD = "guard.verified.json"
_LFS = b"version https://git-lfs"
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

    def path(self, name: str) -> Path:
        """Path of a file that the manifest lists; KeyError for any other name."""
        self.manifest.files[name]
        return self.folder / name


def open_bundle(folder: str | os.PathLike[str]) -> Bundle:
    """Read and check a bundle: manifest, sizes, hashes, paths inside the ONNX file.

    Raises BundleNotFoundError, ManifestError, UnsupportedVersionError, BundleFileError or
    UnsafePathError. The tokenizer is checked by `load_tokenizer`, the graph by `check_graph`.
    """
    folder = Path(folder)
    return _open(folder, _read_record(folder))[0]


def open_and_record(folder: Path) -> tuple[Bundle, bool | None]:
    """Open a bundle with every file hashed, and record the large ones in the folder.

    Returns the bundle and whether the record was written: None without large files, False
    where the folder cannot be written to. Raises what `open_bundle` raises.
    """
    bundle, hashed = _open(folder, {})
    if not hashed:
        return bundle, None
    try:
        write_file(folder / RECORD, json.dumps({"files": hashed}, indent=2), replace=True)
    except OSError:
        return bundle, False
    return bundle, True


def _open(folder: Path, record: Mapping[str, Any]) -> tuple[Bundle, dict[str, Any]]:
    """The checked bundle, and the record of its large files."""
    if not folder.is_dir():
        if folder == EMBEDDED:
            raise BundleNotFoundError(
                f"the guard that comes with the package is not at {str(folder)!r}; expected it "
                "there; likely a program frozen without the package's data: for PyInstaller the "
                "wheel has a hook (harmguard._pyinstaller), other tools need harmguard/models"
            )
        raise BundleNotFoundError(
            f"no folder at {str(folder)!r}; expected a bundle's folder; likely a wrong path "
            "(a guard is never looked up by name or downloaded)"
        )
    if not os.path.lexists(folder / MANIFEST):
        raise BundleNotFoundError(
            f"{str(folder)!r} holds no {MANIFEST}; expected it beside the model; likely an "
            "unfinished copy, or a checkpoint: `harmguard export` makes a bundle of one"
        )
    with _open_regular(folder, MANIFEST) as file:
        manifest = Manifest.from_bytes(file.read(MAX_MANIFEST_BYTES + 1))
    checked = {
        name: check_file(folder, name, entry, record.get(name))
        for name, entry in manifest.files.items()
    }
    sizes = {name: entry.size for name, entry in manifest.files.items()}
    if manifest.runtime == "onnxruntime":
        onnx_file.check_external_data(folder / "model.onnx", sizes)
    large = {n: r for n, r in checked.items() if r["size"] >= HASHED_AT_LOAD_BYTES}
    return Bundle(folder, manifest), large


def load_tokenizer(bundle: Bundle) -> Tokenizer:
    """The bundle's tokenizer, checked: nothing is cut or padded, the template's ids are its own.

    Raises TokenizerError.
    """
    return _tokenizer(bundle.path("tokenizer.json").read_bytes(), bundle.manifest)


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

    def key(version: str) -> tuple[int, int]:
        major, minor, *_ = [*version.split("."), "0"]
        return int(major), int("".join(c for c in minor if c.isdigit()) or 0)

    if key(installed) < key(requires.onnxruntime):
        raise UnsupportedVersionError(
            f"onnxruntime {installed} is installed; expected {requires.onnxruntime} or "
            "newer; likely an old environment: pip install --upgrade onnxruntime"
        )


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


def _open_regular(folder: Path, name: str) -> BinaryIO:
    """Open a file of the bundle for reading; it must be a regular file of the folder itself."""
    path = folder / name
    # A package's folders are part of the bundle too.
    for inner in list(path.relative_to(folder).parents)[:-1]:
        if (folder / inner).is_symlink():
            raise UnsafePathError(
                f"{inner.as_posix()} is a symbolic link; expected a folder; likely a hostile bundle"
            )
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        raise BundleFileError(
            f"{name} is missing; expected it as {MANIFEST} lists it; likely an unfinished copy"
        ) from None
    if stat.S_ISLNK(mode) and folder == EMBEDDED:
        # Some installers link a package's files into place: as safe as the code beside them.
        mode = path.stat().st_mode
    if stat.S_ISLNK(mode):
        raise UnsafePathError(
            f"{name} is a symbolic link; expected a regular file; likely a cache folder: "
            "copy it with `cp -rL`"
        )
    if not stat.S_ISREG(mode):
        raise UnsafePathError(
            f"{name} is not a regular file; expected one; likely a hostile bundle"
        )
    return path.open("rb")


def check_file(folder: Path, name: str, entry: FileEntry, record: Any) -> dict[str, Any]:
    """Check size and hash of one file, and return what its record should say."""
    with _open_regular(folder, name) as file:
        info = os.fstat(file.fileno())
        if info.st_size != entry.size:
            head = file.read(len(_LFS))
            cause = "a truncated download or an altered file"
            if head == _LFS:
                cause = "a git-lfs pointer in place of the file: run `git lfs pull`"
            raise BundleFileError(
                f"{name} has {info.st_size:,} bytes; expected {entry.size:,}; likely {cause}"
            )
        current = {"size": entry.size, "mtime_ns": info.st_mtime_ns, "sha256": entry.sha256}
        if entry.size >= HASHED_AT_LOAD_BYTES and record == current:
            return current
        found = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    if found != entry.sha256:
        raise BundleFileError(
            f"{name} has sha256 {found[:12]}...; expected {entry.sha256[:12]}...; "
            "likely a damaged download or a file changed after the bundle was written"
        )
    return current


def _read_record(folder: Path) -> dict[str, Any]:
    """What `verify` recorded about large files; an unreadable record only costs the hashing."""
    try:
        with _open_regular(folder, RECORD) as file:
            files = strict_json.parse(file.read(MAX_MANIFEST_BYTES + 1), MAX_MANIFEST_BYTES)[
                "files"
            ]
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
        f"model.onnx: {what} {found!a}; expected {expected!a} as {MANIFEST} says; "
        "likely a model file of another bundle"
    )
