"""harmguard: a harm score for a prompt, or a prompt and its response, on the user's own device."""

from __future__ import annotations

import typing as _typing

from .errors import (
    BenchError,
    BundleError,
    BundleFileError,
    BundleNotFoundError,
    CascadeError,
    ChatTemplateError,
    CheckpointError,
    ConfigError,
    DataError,
    DeploymentTargetError,
    EmptyPromptError,
    EngineError,
    ExportError,
    ForkedGuardError,
    GenerationError,
    GoldenMismatchError,
    GraphMismatchError,
    GuardClosedError,
    HarmfulStreamError,
    HarmGuardError,
    HarmGuardWarning,
    InputError,
    InputTypeError,
    InvalidTextError,
    ManifestError,
    MemoryUnreadableError,
    MissingExtraError,
    MissingStreamPointError,
    OutputExistsError,
    ParityError,
    PrepareError,
    ProgramError,
    RecipeError,
    ServerError,
    StageError,
    TeacherError,
    TextTooLongError,
    TokenizerError,
    TooFewSamplesError,
    TrainingError,
    UnjudgedTextError,
    UnknownThresholdError,
    UnpreparedWarning,
    UnsafePathError,
    UnsupportedModelError,
    UnsupportedVersionError,
    UnverifiedBundleWarning,
    WrongRuntimeError,
)
from .guard import HarmGuard
from .verdict import StreamVerdict, Verdict

if _typing.TYPE_CHECKING:
    from .cascade import Cascade

__version__ = "0.1.0"
__all__ = [
    "BenchError",
    "BundleError",
    "BundleFileError",
    "BundleNotFoundError",
    "Cascade",
    "CascadeError",
    "ChatTemplateError",
    "CheckpointError",
    "ConfigError",
    "DataError",
    "DeploymentTargetError",
    "EmptyPromptError",
    "EngineError",
    "ExportError",
    "ForkedGuardError",
    "GenerationError",
    "GoldenMismatchError",
    "GraphMismatchError",
    "GuardClosedError",
    "HarmGuard",
    "HarmGuardError",
    "HarmGuardWarning",
    "HarmfulStreamError",
    "InputError",
    "InputTypeError",
    "InvalidTextError",
    "ManifestError",
    "MemoryUnreadableError",
    "MissingExtraError",
    "MissingStreamPointError",
    "OutputExistsError",
    "ParityError",
    "PrepareError",
    "ProgramError",
    "RecipeError",
    "ServerError",
    "StageError",
    "StreamVerdict",
    "TeacherError",
    "TextTooLongError",
    "TokenizerError",
    "TooFewSamplesError",
    "TrainingError",
    "UnjudgedTextError",
    "UnknownThresholdError",
    "UnpreparedWarning",
    "UnsafePathError",
    "UnsupportedModelError",
    "UnsupportedVersionError",
    "UnverifiedBundleWarning",
    "Verdict",
    "WrongRuntimeError",
    "__version__",
]


def __getattr__(name: str) -> _typing.Any:
    """Cascade is loaded by those who use it."""
    if name != "Cascade":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .cascade import Cascade

    return Cascade
