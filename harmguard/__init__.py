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
    CheckpointWarning,
    ConfigError,
    CopiedGuardError,
    DataError,
    DeploymentTargetError,
    DivergedError,
    EmptyPromptError,
    EngineError,
    ExportError,
    FewerThreadsWarning,
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
    RunError,
    ServerError,
    StageError,
    TeacherError,
    TextTooLongError,
    TokenizerError,
    TooFewSamplesError,
    TrainingError,
    TrainingWarning,
    UnjudgedTextError,
    UnknownThresholdError,
    UnpreparedWarning,
    UnsafeGraphError,
    UnsafePathError,
    UnsupportedModelError,
    UnsupportedVersionError,
    UnverifiedBundleWarning,
    WrongRuntimeError,
)
from .verdict import StreamVerdict, Verdict

if _typing.TYPE_CHECKING:
    from .cascade import Cascade
    from .guard import HarmGuard

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
    "CheckpointWarning",
    "ConfigError",
    "CopiedGuardError",
    "DataError",
    "DeploymentTargetError",
    "DivergedError",
    "EmptyPromptError",
    "EngineError",
    "ExportError",
    "FewerThreadsWarning",
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
    "RunError",
    "ServerError",
    "StageError",
    "StreamVerdict",
    "TeacherError",
    "TextTooLongError",
    "TokenizerError",
    "TooFewSamplesError",
    "TrainingError",
    "TrainingWarning",
    "UnjudgedTextError",
    "UnknownThresholdError",
    "UnpreparedWarning",
    "UnsafeGraphError",
    "UnsafePathError",
    "UnsupportedModelError",
    "UnsupportedVersionError",
    "UnverifiedBundleWarning",
    "Verdict",
    "WrongRuntimeError",
    "__version__",
]


def __getattr__(name: str) -> object:
    # At the first use: the command has to name every error, one of numpy's import among them.
    if name == "HarmGuard":
        from .guard import HarmGuard as found
    elif name == "Cascade":
        from .cascade import Cascade as found  # type: ignore[assignment]
    else:
        raise AttributeError(f"module 'harmguard' has no attribute {name!r}")
    globals()[name] = found
    return found
