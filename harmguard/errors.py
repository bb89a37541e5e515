"""Every error that harmguard raises on purpose.

::

    HarmGuardError
    ├── BundleError                  the folder of a guard
    │   ├── BundleNotFoundError      no such folder, or no manifest in it
    │   ├── AmbiguousGuardError      two packages have a guard of one name
    │   ├── ManifestError            guard.json is malformed
    │   │   └── UnsupportedVersionError
    │   ├── BundleFileError          a file is missing, truncated, altered, or a git-lfs pointer
    │   ├── UnsafePathError          a path leaves the folder
    │   ├── GraphMismatchError       the ONNX graph disagrees with the manifest
    │   ├── UnsafeGraphError         the ONNX graph could hang, fill memory, or draw lots
    │   ├── WrongRuntimeError        the bundle is for another runtime
    │   ├── TokenizerError           the tokenizer cuts, pads, may hang, or is another model's
    │   └── GoldenMismatchError      the golden pairs do not give their recorded scores
    ├── InputError (ValueError)      what a caller passed in
    │   ├── InputTypeError (TypeError)
    │   ├── EmptyPromptError         no text, or nothing in it that is a token
    │   ├── InvalidTextError         lone surrogates, or bytes that are no UTF-8
    │   ├── TextTooLongError
    │   └── UnknownThresholdError
    │       └── MissingStreamPointError
    ├── HarmfulStreamError           an answer was stopped while it was written
    ├── UnjudgedTextError            a policy has no verdict to go by
    ├── CascadeError                 two guards have no common fit
    ├── GuardClosedError             the guard was closed
    ├── ForkedGuardError             the guard was made before a fork
    ├── CopiedGuardError (TypeError) a guard was to be copied, or sent to another process
    ├── RunError                     the model fails on an input
    ├── PrepareError                 no prepared copy can be made or used
    ├── MissingExtraError (ImportError)
    ├── OutputExistsError            a writer refuses to overwrite
    ├── TrainingError
    │   ├── DataError
    │   ├── ConfigError
    │   ├── CheckpointError
    │   ├── DivergedError            a loss, a gradient or a weight is not finite
    │   ├── ChatTemplateError        a chat template is missing or cannot be continued
    │   ├── TeacherError             a teacher that cannot give a verdict
    │   ├── GenerationError          a model's answers are empty, or too few are usable
    │   ├── StageError               a stage's files cannot be written or belong to another run
    │   └── EngineError              an engine cannot run
    │       └── ServerError          a server failed on some rows; the others are kept
    ├── ExportError
    │   ├── UnsupportedModelError
    │   ├── ParityError
    │   ├── RecipeError
    │   ├── DeploymentTargetError    the system that a Core ML program is for cannot run it
    │   └── ProgramError             a Core ML program cannot be written or checked
    └── BenchError                   a measurement cannot be made
        ├── MemoryUnreadableError    the system refuses to tell a process its memory
        └── TooFewSamplesError       too few timings for a median and its tail

    HarmGuardWarning (UserWarning)
    ├── UnverifiedBundleWarning      a bundle that no parity gate has passed
    ├── FewerThreadsWarning          more threads were asked for than there are cores
    ├── CheckpointWarning            how an unusual checkpoint was taken: its labels, its head
    ├── TrainingWarning              rows or settings that will not give what is wanted
    └── UnpreparedWarning            a cache was given, and the guard runs without a prepared copy

A message says what was found, what was expected and the likely cause. It never holds a scored
text, only lengths, positions and indices.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harmguard.verdict import StreamVerdict


class HarmGuardError(Exception):
    """Base of every error raised by harmguard."""


class BundleError(HarmGuardError):
    """A guard's folder cannot be used."""


class BundleNotFoundError(BundleError):
    """The path is not a folder, or the folder holds no manifest."""


class AmbiguousGuardError(BundleError):
    """Two installed packages have a guard of one name."""


class ManifestError(BundleError):
    """The manifest is not what docs/bundle-format.md describes."""


class UnsupportedVersionError(ManifestError):
    """The manifest's format version is not one that this release reads."""


class BundleFileError(BundleError):
    """A file of the bundle is missing, truncated or altered."""


class UnsafePathError(BundleError):
    """A path in the bundle leaves the bundle's folder."""


class GraphMismatchError(BundleError):
    """The ONNX graph has other inputs or outputs than the manifest says."""


class UnsafeGraphError(BundleError):
    """The ONNX graph has operators or constants that could hang, fill memory, or draw lots."""


class WrongRuntimeError(BundleError):
    """The bundle is for a runtime that this library does not drive."""


class TokenizerError(BundleError):
    """The tokenizer cuts or pads texts, or does not fit the model."""


class GoldenMismatchError(BundleError):
    """This installation does not reproduce the bundle's golden scores."""


class InputError(HarmGuardError, ValueError):
    """A value passed to a guard cannot be used."""


class InputTypeError(InputError, TypeError):
    """A value passed to a guard has the wrong type."""


class EmptyPromptError(InputError):
    """The prompt is empty, or nothing in it is a token."""


class InvalidTextError(InputError):
    """A text holds lone surrogates, so it is not valid Unicode."""


class TextTooLongError(InputError):
    """A text is longer than the guard takes."""


class UnknownThresholdError(InputError):
    """The bundle has no operating point of that name, or the number is outside [0, 1]."""


class MissingStreamPointError(UnknownThresholdError):
    """The bundle has no operating point for streams, and the caller gave no number."""


class HarmfulStreamError(HarmGuardError):
    """The answer so far is harmful; `verdict` is the verdict on it."""

    def __init__(self, message: str, verdict: StreamVerdict) -> None:
        super().__init__(message)
        self.verdict = verdict

    @property
    def position(self) -> int:
        """Where the sentence begins that was held back, in characters: so many went out."""
        return self.verdict.start

    def __reduce__(self) -> tuple[type[HarmfulStreamError], tuple[str, StreamVerdict]]:
        """For pickle: both arguments."""
        return type(self), (str(self), self.verdict)


class UnjudgedTextError(HarmGuardError):
    """There is a verdict on the text, and it says too little: most of the text is unreadable."""


class CascadeError(HarmGuardError):
    """The fit of a cascade cannot be read, or is for other guards."""


class GuardClosedError(HarmGuardError):
    """The guard was used after `close()`."""


class ForkedGuardError(HarmGuardError):
    """The guard was made in another process, before a fork; its threads did not survive it."""


class CopiedGuardError(HarmGuardError, TypeError):
    """A guard cannot be copied or pickled: it holds native memory and threads."""


class RunError(HarmGuardError):
    """The runtime failed on an input: too little memory, or a model that does not take it."""


class PrepareError(HarmGuardError):
    """No prepared copy of a bundle can be made in a cache, or the one there cannot be used."""


class MissingExtraError(HarmGuardError, ImportError):
    """A part of harmguard needs packages of an extra that is not installed."""


class OutputExistsError(HarmGuardError):
    """The output path exists already, and nothing is overwritten."""


class TrainingError(HarmGuardError):
    """Training or its evaluation cannot go on."""


class DataError(TrainingError):
    """A data file or a row in it cannot be used."""


class ConfigError(TrainingError):
    """A training configuration is wrong."""


class CheckpointError(TrainingError):
    """A checkpoint folder cannot be used."""


class DivergedError(TrainingError):
    """A loss, a gradient or a weight is not finite, so that nothing can be learnt any more."""


class ChatTemplateError(TrainingError):
    """A chat template is missing, or an assistant's turn in it cannot be continued."""


class TeacherError(TrainingError):
    """A teacher cannot give a verdict: no words for it, or no probability."""


class GenerationError(TrainingError):
    """A model's answers are empty, or too few of them pass the filters."""


class StageError(TrainingError):
    """A stage's files cannot be written, are in use, or belong to another run."""


class EngineError(TrainingError):
    """An engine of the pipeline cannot run."""


class ServerError(EngineError):
    """A server failed on some rows; finished rows are kept, and a second run asks for the rest."""


class ExportError(HarmGuardError):
    """A checkpoint cannot be exported."""


class UnsupportedModelError(ExportError):
    """No graph builder knows this architecture."""


class ParityError(ExportError):
    """The exported model differs too much from its checkpoint."""


class RecipeError(ExportError):
    """The recipe is unknown or does not apply to this model."""


class DeploymentTargetError(ExportError):
    """The deployment target of a Core ML program is unknown, or cannot do what is asked."""


class ProgramError(ExportError):
    """A Core ML program cannot be written, or the check on this machine cannot evaluate it."""


class BenchError(HarmGuardError):
    """A measurement cannot be made."""


class MemoryUnreadableError(BenchError):
    """The system refuses to tell this process how much memory it has."""


class TooFewSamplesError(BenchError):
    """There are too few timings for a median and its tail."""


class HarmGuardWarning(UserWarning):
    """Base of the warnings that harmguard gives."""


class UnverifiedBundleWarning(HarmGuardWarning):
    """The bundle was exported without a parity gate: its scores may be far off its checkpoint."""


class FewerThreadsWarning(HarmGuardWarning):
    """More threads were asked for than cores are allowed; the guard has as many as cores."""


class CheckpointWarning(HarmGuardWarning):
    """The labels or the head of a checkpoint are unusual; the message says how they were taken."""


class TrainingWarning(HarmGuardWarning):
    """Rows or settings of a training will likely not give what is wanted."""


class UnpreparedWarning(HarmGuardWarning):
    """The guard runs from its bundle, because no prepared copy could be made or used."""
