"""Where a checkpoint comes from: a folder, or the model hub by its id."""

from __future__ import annotations

import re
from pathlib import Path

from harmguard.errors import CheckpointError

_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
# Never pickles, which can run code, and never code.
_FILES = ["*.json", "*.safetensors", "*.txt", "*.model"]


def fetch(checkpoint: Path, revision: str | None = None) -> tuple[Path, str | None]:
    """The folder of `checkpoint`, and "id@commit" where it was the id of a model on the hub.

    A folder that exists is never looked up. Otherwise "owner/name" is downloaded into the hub's
    own cache, at `revision` (a branch, tag or commit; None: its main branch). Raises
    CheckpointError for a revision of a folder, and for an id that the hub does not give.
    """
    name = checkpoint.as_posix()
    if checkpoint.exists() or not _ID.fullmatch(name):
        if revision is not None:
            raise CheckpointError(
                f"a revision, {revision!a}, of {name!a}; expected one for a model on the hub only"
            )
        return checkpoint, None
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=_FILES))
    except Exception as error:  # the hub's errors and those of its HTTP library share no base
        raise CheckpointError(
            f"{name!a} is no folder here, and the model hub does not give it "
            f"({type(error).__name__}); expected a checkpoint's folder or the id of a public "
            "model; likely a wrong path, a private model, or no network"
        ) from None
    return folder, f"{name}@{folder.name}"
