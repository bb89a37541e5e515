"""A device's own copy of a bundle, its weights packed for the processor and mapped from disk.

A guard that loads its bundle packs the weights into memory of its own. The copy has them packed
on disk, so that processes share them and the system can drop and read them again. It belongs to
one bundle, one release of onnxruntime and one processor; the folder's name says which.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from harmguard.bundle import Bundle, check_file, load_tokenizer, require_onnx, strict_json
from harmguard.bundle.manifest import MAX_MANIFEST_BYTES
from harmguard.bundle.spec import FileEntry
from harmguard.core.batch import no_padding, pad
from harmguard.core.encode import PairEncoder
from harmguard.core.files import new_folder, sha256_of
from harmguard.errors import BundleError, PrepareError
from harmguard.prepared.share import LINK_PREFIX, is_shared, share_weights
from harmguard.prepared.unigram import FILES, MappedUnigram

FORMAT = 3
RECORD = "prepared.json"
LOCK_SECONDS = 300
"""How long to wait for another process that prepares in the same cache."""

_TOKENIZER_PROBES = 600
# The features that matrix kernels are chosen by, and what tells processor designs apart.
_FEATURE = re.compile(r"(sse|ssse|avx|fma|f16c|amx|asimd|i8mm|bf16|sve)[0-9a-z_]*|sme[0-9]*")
_DESIGN = ("vendor_id", "cpu family", "model", "CPU implementer", "CPU part")
_PROBES = (
    ("How do I bake bread?", None),
    ("How do I bake bread?", "Mix flour, water, salt and yeast, and let the dough rest. " * 6),
)


@dataclass(frozen=True)
class PreparedCopy:
    """A copy that passed every check, for this bundle on this device."""

    folder: Path
    bytes: int
    """What its files take on disk."""
    unmapped: str | None
    """Why the tokenizer is not in it; None if it is."""

    def tokenizer(self) -> MappedUnigram | None:
        """The tokenizer, searched on disk; None where the bundle's own has to be loaded."""
        return MappedUnigram(self.folder) if self.unmapped is None else None

    @property
    def model(self) -> Path:
        """The graph, as `_session.Session` takes it."""
        return self.folder / "model.onnx"


def find(bundle: Bundle, cache: Path) -> PreparedCopy:
    """The copy of `bundle` in `cache`, checked as the files of a bundle are.

    Files below 64 MB are hashed, larger ones unless their size and time of change are those that
    were recorded when the copy was written. Raises PrepareError if there is none, if it is
    damaged, or if others could have written it.
    """
    identity = _identity(bundle)
    cache = cache.resolve()
    folder = _folder(cache, bundle, identity)
    if not os.path.lexists(folder):
        raise PrepareError(f"no copy for this bundle and device in {str(cache)!r}")
    try:
        for path in (cache, folder):
            _check_owner(path)
        recorded = strict_json.parse((folder / RECORD).read_bytes(), MAX_MANIFEST_BYTES)
        if recorded["identity"] != identity or "model.onnx" not in recorded["files"]:
            raise PrepareError(f"{RECORD} belongs to another copy")
        for name, entry in recorded["files"].items():
            if not is_shared(folder / name, bundle.folder):
                check_file(folder, name, FileEntry(entry["size"], entry["sha256"]), entry)
        return PreparedCopy(folder, _disk_bytes(folder), recorded["unmapped"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError, BundleError) as error:
        why = error if isinstance(error, BundleError) else f"{RECORD} cannot be read"
        raise PrepareError(f"the copy at {str(folder)!r} is damaged: {why}") from None


def prepare(bundle: Bundle, cache: Path) -> PreparedCopy:
    """The copy of `bundle` in `cache`; if there is no good one, it is made and checked first.

    Several processes may do this at once: one writes, the others wait for it. A killed one
    leaves a folder that nobody reads and the next one removes.

    Raises PrepareError with the reason if there is no copy and none can be made, and
    WrongRuntimeError for a bundle that is not for onnxruntime.
    """
    require_onnx(bundle)
    try:
        return find(bundle, cache)
    except PrepareError as error:
        absent = str(error)
    try:
        cache.mkdir(mode=0o755, parents=True, exist_ok=True)
        with _locked(cache):
            try:
                return find(bundle, cache)  # another process may have made it meanwhile
            except PrepareError:
                return _make(bundle, cache.resolve())
    except OSError as error:
        raise PrepareError(
            f"{absent}; a new one cannot be written: {error.strerror or error}; expected a folder "
            "of this user, on a disk that can be written to and has space"
        ) from None


def default_cache() -> Path:
    """`harmguard` in the folder that the system keeps for a user's caches."""
    home = Path.home() / ("Library/Caches" if platform.system() == "Darwin" else ".cache")
    return Path(os.environ.get("XDG_CACHE_HOME") or home) / "harmguard"


def remove_stale(bundle: Bundle, copy: PreparedCopy) -> list[Path]:
    """Remove copies of the same bundle beside `copy` that other releases made on this processor.

    Returns their folders.
    """
    identity = _identity(bundle)
    same = {key: identity[key] for key in ("bundle", "cpu")}
    removed = []
    for path in sorted(copy.folder.parent.glob(f"{bundle.manifest.name}-*/{RECORD}")):
        try:
            other = strict_json.parse(path.read_bytes(), MAX_MANIFEST_BYTES)["identity"]
            stale = path.parent != copy.folder and same.items() <= other.items()
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            stale = False
        if stale:
            shutil.rmtree(path.parent, ignore_errors=True)
            removed.append(path.parent)
    return removed


def cpu_features(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """What decides the packing, as far as the system tells: machine, design, vector features."""
    found = {platform.machine(), platform.processor()}
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:  # not Linux
        text = ""
    for line in text.splitlines():
        name, _, value = (part.strip() for part in line.partition(":"))
        if name in _DESIGN:
            found.add(f"{name} {value}")
        elif name in ("flags", "Features"):
            found.update(word for word in value.split() if _FEATURE.fullmatch(word))
    return ", ".join(sorted(found - {""}))


def _identity(bundle: Bundle) -> dict[str, Any]:
    """What a copy depends on: it is used only where all of it is the same."""
    import tokenizers

    from harmguard.runtime.session import ort

    manifest = json.dumps(bundle.manifest.to_json(), sort_keys=True, ensure_ascii=False)
    return {
        "format": FORMAT,
        "bundle": hashlib.sha256(manifest.encode()).hexdigest(),
        "onnxruntime": ort.__version__,
        "tokenizers": tokenizers.__version__,
        "cpu": cpu_features(),
    }


def _folder(cache: Path, bundle: Bundle, identity: dict[str, Any]) -> Path:
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    return cache / f"{bundle.manifest.name}-{key[:16]}"


def _make(bundle: Bundle, cache: Path) -> PreparedCopy:
    """Write a copy aside and rename it into place. The caller holds the lock, if any."""
    identity = _identity(bundle)
    folder = _folder(cache, bundle, identity)
    _check_owner(cache)
    _check_space(bundle, cache)
    with new_folder(folder, replace=True) as aside:
        aside.chmod(0o755)
        unmapped = _fill(bundle, aside)
        files = {path.name: _record(path) for path in sorted(aside.iterdir())}
        facts = {"identity": identity, "files": files, "unmapped": unmapped}
        (aside / RECORD).write_text(json.dumps(facts, indent=2))
    return find(bundle, cache)


def _fill(bundle: Bundle, aside: Path) -> str | None:
    """Write model and tokenizer; return why there is no tokenizer, None if there is one."""
    from harmguard.runtime.heap import release_memory
    from harmguard.runtime.probe import largest_window, probe_largest
    from harmguard.runtime.session import Session, save_prepared

    model = aside / "model.onnx"
    try:
        tokenizer = load_tokenizer(bundle)
        unmapped = _write_tokenizer(bundle, tokenizer, aside)
        inputs = list(_probe_inputs(bundle, tokenizer))
        largest = largest_window(tokenizer, bundle.manifest.input)
        del tokenizer
        save_prepared(bundle, model)
        share_weights(model, bundle.path("model.onnx"))
        original = Session(bundle, 1)
        probe_largest(original, largest, bundle.manifest.input)
        expected = _logits(original, inputs)
        del original
        found = _logits(Session(bundle, 1, model), inputs)
    except BundleError as error:
        free = shutil.disk_usage(aside).free
        raise PrepareError(
            f"onnxruntime cannot make the copy: {error} ({free:,} bytes are free in "
            f"{str(aside.parent)!r})"
        ) from None
    finally:
        release_memory()
    if not np.allclose(found, expected, rtol=0, atol=1e-4, equal_nan=True):
        raise PrepareError(
            f"the copy gives logits up to {np.abs(found - expected).max():.3g} from the bundle's; "
            "expected the same; likely a fault of this onnxruntime release"
        )
    return unmapped


def _write_tokenizer(bundle: Bundle, tokenizer: Tokenizer, aside: Path) -> str | None:
    """Write the tokenizer in mapped form if that gives the same ids; otherwise return why not."""
    from harmguard.prepared.unigram_build import build, first_difference, probes

    try:
        words = build(bundle.path("tokenizer.json").read_bytes(), aside)
    except ValueError as error:
        return str(error)
    texts = probes(words, _TOKENIZER_PROBES)
    unmapped = first_difference(tokenizer, MappedUnigram(aside), texts)
    if unmapped is not None:
        for name in FILES:
            (aside / name).unlink()
    return unmapped


def _probe_inputs(
    bundle: Bundle, tokenizer: Tokenizer
) -> Iterator[tuple[np.ndarray[Any, Any], ...]]:
    spec = bundle.manifest.input
    encoder = PairEncoder(tokenizer, spec.template, spec.max_tokens)
    for prompt, response in _PROBES:
        yield pad(encoder.encode(prompt, response).windows[:1], spec.pad_id, no_padding)


def _logits(session: Any, inputs: list[tuple[Any, ...]]) -> np.ndarray[Any, Any]:
    return np.concatenate([session.run(*arrays) for arrays in inputs])


def _record(path: Path) -> dict[str, Any]:
    """Size, time of change and hash of a file, as a load compares them."""
    info = path.stat()
    return {"size": info.st_size, "mtime_ns": info.st_mtime_ns, "sha256": sha256_of(path)}


def _disk_bytes(folder: Path) -> int:
    # Blocks, for there are holes; and not what is linked, for that is the bundle's.
    own = (path.stat() for path in folder.iterdir() if not path.name.startswith(LINK_PREFIX))
    return sum(getattr(info, "st_blocks", 0) * 512 for info in own)


def _check_space(bundle: Bundle, cache: Path) -> None:
    names = set(bundle.manifest.files) - {"README.md", "golden.jsonl"}
    needed = 2 * sum(bundle.manifest.files[name].size for name in names)
    free = shutil.disk_usage(cache).free
    if free < needed:
        raise PrepareError(
            f"no space for a copy in {str(cache)!r}: {free:,} bytes free; expected {needed:,}, "
            "twice the model and its tokenizer"
        )


def _check_owner(path: Path) -> None:
    """Refuse a folder that another user could have filled: what is in it decides the scores."""
    info = path.lstat()
    if not stat.S_ISDIR(info.st_mode):
        raise PrepareError(f"{str(path)!r} is not a folder of its own; expected one, and no link")
    mine = not hasattr(os, "getuid") or info.st_uid in (0, os.getuid())
    # In a folder such as /tmp others may add files, but not replace this user's.
    if not mine or info.st_mode & (stat.S_IWOTH | stat.S_ISVTX) == stat.S_IWOTH:
        raise PrepareError(
            f"{str(path)!r} can be written to by other users; expected a folder that belongs to "
            f"this user or root, and that others cannot write to: a subfolder of it works "
            f"(cache={str(path / 'harmguard')!r})"
        )


@contextmanager
def _locked(cache: Path) -> Iterator[None]:
    """Hold the cache's lock, where the system has locks."""
    with (cache / ".lock").open("ab") as file:
        _lock(file.fileno(), cache)
        yield


def _lock(descriptor: int, cache: Path) -> None:
    """Wait for the lock, which goes with the descriptor, or the process."""
    try:
        import fcntl
    except ImportError:
        return
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise PrepareError(
                    f"another process has been preparing in {str(cache)!r} for "
                    f"{LOCK_SECONDS} s; expected it to end; likely one that hangs"
                ) from None
            time.sleep(0.05)
        except OSError:  # some network file systems have no locks; the rename is atomic there too
            return
