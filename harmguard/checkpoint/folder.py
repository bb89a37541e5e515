"""A checkpoint's folder before anything of it is loaded: weights that are weights, and no code."""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harmguard.errors import CheckpointError

METADATA_FILE = "harmguard_training.json"
WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
_PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")
_LFS = b"version https://git-lfs"
_MOST_HEADER = 100_000_000  # bytes, as the safetensors library has it
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
_FRAMEWORKS = {"tf": "TensorFlow", "flax": "Flax", "mlx": "MLX", "np": "numpy"}


def check_folder(folder: Path) -> dict[str, Any]:
    """The folder's config as it stands in config.json.

    Raises CheckpointError for what is no whole checkpoint of plain weights, or would run code.
    """
    if (folder / "adapter_config.json").exists():
        raise CheckpointError(
            f"{folder.name} holds an adapter (adapter_config.json); expected a whole model: merge "
            "it first, with peft's merge_and_unload(), and save the result"
        )
    config = read_object(folder, "config.json")
    if config is None:
        raise CheckpointError(
            f"{str(folder)!r} has no config.json; expected a folder as transformers saves it; "
            "likely a wrong path"
        )
    _check_code(config, "config.json")
    _check_code(read_object(folder, "tokenizer_config.json") or {}, "tokenizer_config.json")
    if config.get("quantization_config") is not None:
        raise CheckpointError(
            "config.json has a quantization_config; expected weights in float32, float16 or "
            "bfloat16; likely a copy that was quantised for another runtime: take the original"
        )
    for path in _weight_files(folder):
        _check_weights(path)
    return config


def read_metadata(folder: Path) -> dict[str, Any]:
    """What the trainer wrote beside the checkpoint; {} for a folder from elsewhere."""
    return read_object(folder, METADATA_FILE) or {}


def read_object(folder: Path, name: str) -> dict[str, Any] | None:
    """The object in a JSON file of the folder; None without the file. Raises CheckpointError."""
    path = folder / name
    if not path.is_file():
        return None
    data = path.read_bytes()
    refuse_pointer(data, name)
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise CheckpointError(f"{name} holds no JSON object; expected one; likely half-copied")
    return value


def refuse_pointer(data: bytes, name: str) -> None:
    """Raise CheckpointError where a file's content was never fetched."""
    if data.startswith(_LFS):
        raise CheckpointError(
            f"{name} is a git-lfs pointer; expected the file itself; likely a clone without "
            "git-lfs: type git lfs pull in it"
        )


def _check_code(config: Mapping[str, Any], name: str) -> None:
    """A config can name Python files of its folder, or compiled kernels of the hub."""
    for key, value in _items(config):
        if key == "auto_map" and value:
            raise CheckpointError(
                f"{name} has an auto_map, which names code to run; expected an architecture that "
                "transformers itself has; no code of a checkpoint is ever run"
            )
        kernel = "kernel" in key or key.endswith(("_implementation", "_implementation_internal"))
        if kernel and isinstance(value, str) and _REPOSITORY.search(value):
            raise CheckpointError(
                f"{name}: {key} names a kernel of the hub, code to download and run; expected "
                "none; no code of a checkpoint is ever run: remove the line"
            )


def _items(value: Any) -> Iterator[tuple[str, Any]]:
    """Every key and value of nested objects."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield str(key), inner
            yield from _items(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _items(inner)


def _weight_files(folder: Path) -> list[Path]:
    if (folder / WEIGHTS_FILE).exists():
        return [folder / WEIGHTS_FILE]
    index = read_object(folder, INDEX_FILE)
    if index is not None:
        return _shards(folder, index)
    pickles = [name for name in _PICKLES if (folder / name).exists()]
    if pickles:
        raise CheckpointError(
            f"{folder.name} holds {pickles[0]}, a pickle, which can run code when read; expected "
            "model.safetensors; likely an old checkpoint: save it again with "
            "safe_serialization=True where you trust it"
        )
    raise CheckpointError(
        f"{folder.name} has no model.safetensors; expected it, or its index with all shards; "
        "likely an unfinished copy"
    )


def _shards(folder: Path, index: Mapping[str, Any]) -> list[Path]:
    found = index.get("weight_map")
    names = sorted(set(map(str, found.values()))) if isinstance(found, dict) else []
    if not names or any(Path(name).name != name for name in names):
        raise CheckpointError(
            f"{INDEX_FILE} names no shards beside it; expected a weight_map; likely altered"
        )
    absent = [name for name in names if not (folder / name).is_file()]
    if absent:
        raise CheckpointError(
            f"{folder.name} lacks {len(absent)} of {len(names)} shards, the first of them "
            f"{absent[0]}; expected all; likely an unfinished copy"
        )
    return [folder / name for name in names]


def _check_weights(path: Path) -> None:
    """Read the header of a safetensors file: 8 bytes of length, then JSON."""
    with path.open("rb") as file:
        start = file.read(8)
        size = struct.unpack("<Q", start)[0] if len(start) == 8 else math.inf
        refuse_pointer(start + file.read(32), path.name)
        file.seek(8)
        try:
            if size > _MOST_HEADER:
                raise ValueError
            header = json.loads(file.read(int(size)))
            ends = [about["data_offsets"][1] for n, about in header.items() if n != "__metadata__"]
            framework = (header.get("__metadata__") or {}).get("format", "pt")
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            raise CheckpointError(
                f"{path.name} cannot be loaded: it has no header of safetensors; expected "
                "weights; likely truncated, or another kind of file under this name"
            ) from None
        whole = 8 + int(size) + max(ends, default=0)
        if (length := path.stat().st_size) < whole:
            raise CheckpointError(
                f"{path.name} cannot be loaded: it has {length:,} bytes; expected {whole:,}; "
                "likely an unfinished copy"
            )
    if framework != "pt":
        called = _FRAMEWORKS.get(str(framework), repr(str(framework)[:20]))
        raise CheckpointError(
            f"{path.name} says that it was saved by {called} (format in its metadata); expected "
            "PyTorch's, 'pt'; likely a conversion for another framework: save the original with "
            "save_pretrained()"
        )
