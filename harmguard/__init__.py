"""harmguard: a harm score for a prompt, or a prompt and its response, on the user's own device."""

from __future__ import annotations

import typing

from .errors import (
    BenchError,
    BundleError,
    BundleFileError,
    BundleNotFoundError,
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
    HarmGuardError,
    HarmGuardWarning,
    InputError,
    InputTypeError,
    InvalidTextError,
    ManifestError,
    MemoryUnreadableError,
    MissingExtraError,
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
    UnknownThresholdError,
    UnpreparedWarning,
    UnsafeGraphError,
    UnsafePathError,
    UnsupportedModelError,
    UnsupportedVersionError,
    UnverifiedBundleWarning,
    WrongRuntimeError,
)
from .verdict import Verdict

if typing.TYPE_CHECKING:
    from .guard import HarmGuard

__version__ = "0.1.0"
__all__ = [
    "BenchError",
    "BundleError",
    "BundleFileError",
    "BundleNotFoundError",
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
    "InputError",
    "InputTypeError",
    "InvalidTextError",
    "ManifestError",
    "MemoryUnreadableError",
    "MissingExtraError",
    "OutputExistsError",
    "ParityError",
    "PrepareError",
    "ProgramError",
    "RecipeError",
    "RunError",
    "ServerError",
    "StageError",
    "TeacherError",
    "TextTooLongError",
    "TokenizerError",
    "TooFewSamplesError",
    "TrainingError",
    "TrainingWarning",
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
    if name != "HarmGuard":
        raise AttributeError(f"module 'harmguard' has no attribute {name!r}")
    from .guard import HarmGuard

    globals()[name] = HarmGuard
    return HarmGuard
