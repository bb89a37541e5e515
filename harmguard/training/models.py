"""A model that training uses, and what a manifest says of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harmguard.core.files import sha256_of
from harmguard.errors import CheckpointError


@dataclass(frozen=True)
class Model:
    """A model: a folder, `hub:owner/name`, a GGUF file, or what a server calls it."""

    path: str
    revision: str = "main"  # of a model of the hub
    url: str = ""  # engine openai: the server's base URL, such as http://127.0.0.1:8000/v1


def identity(model: Model) -> dict[str, Any]:
    """What a manifest says of a model: the hash of its files, or a hub id's commit."""
    folder = Path(model.path)
    if folder.is_dir():
        digest = hashlib.sha256()
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            digest.update(f"{path.relative_to(folder).as_posix()}\0{sha256_of(path)}\n".encode())
        return {"files_sha256": digest.hexdigest()}
    if model.url:
        return {"served": model.path, "revision": model.revision}
    from transformers import AutoConfig

    from harmguard.checkpoint import is_hub, local, located

    if not is_hub(model.path):
        return {"file_sha256": sha256_of(local(model.path))}
    try:
        config = AutoConfig.from_pretrained(**located(model.path, model.revision))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"the model hub does not give {model.path!a} ({type(error).__name__}); expected "
            "hub:owner/name of a public model; likely a wrong name, a private model, or no network"
        ) from None
    return {"id": model.path, "commit": getattr(config, "_commit_hash", None)}
