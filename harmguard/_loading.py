"""What a guard is loaded from: a bundle that can be read, and a copy of it for this device."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from harmguard.bundle import Bundle, opening, require_onnx
from harmguard.errors import BundleFileError, PrepareError, UnpreparedWarning

if TYPE_CHECKING:
    from harmguard.prepared.prepare import PreparedCopy


@contextmanager
def opening_bundle(folder: Path) -> Iterator[Bundle]:
    """The bundle in `folder`, which onnxruntime can run, as `opening` gives it. BundleError."""
    with ExitStack() as stack:
        try:
            bundle = stack.enter_context(opening(folder))
        except OSError as error:
            raise BundleFileError(
                f"{str(error.filename or folder)[:400]!a} cannot be read "
                f"({error.strerror or error}); expected a bundle that this user may read; likely "
                "its permissions, or a wrong path"
            ) from None
        require_onnx(bundle)
        yield bundle


def prepared_copy(bundle: Bundle, cache: Path | None) -> tuple[PreparedCopy | None, str | None]:
    """The copy in `cache`, or why there is none; neither without a cache."""
    if cache is None:
        return None, None
    from harmguard.prepared.prepare import prepare

    bundle.check_hashes()  # a copy outlives this load
    try:
        return prepare(bundle, cache), None
    except PrepareError as error:
        reason = str(error)
    except OSError as error:
        reason = f"{str(cache)[:400]!a} cannot be used: {error.strerror or error}"
    warnings.warn(
        f"guard {bundle.manifest.name!r} runs without a prepared copy: {reason}",
        UnpreparedWarning,
        stacklevel=3,
    )
    return None, reason
