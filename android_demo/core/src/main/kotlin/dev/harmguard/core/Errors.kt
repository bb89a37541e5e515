package dev.harmguard.core

/**
 * Base of every error that harmguard raises on purpose. The names and their order are those of
 * Python's `harmguard/errors.py`. A message says what was found, what was expected and the likely
 * cause; it never holds a scored text, only lengths, positions and indices.
 */
public open class HarmGuardError
@JvmOverloads
constructor(
    message: String,
    cause: Throwable? = null,
) : RuntimeException(message, cause)

/** A guard's folder cannot be used. */
public open class BundleError
@JvmOverloads
constructor(
    message: String,
    cause: Throwable? = null,
) : HarmGuardError(message, cause)

/** The path is not a folder, or the folder holds no manifest. */
public class BundleNotFoundError(
    message: String,
) : BundleError(message)

/** The manifest is not what docs/bundle-format.md describes. */
public open class ManifestError(
    message: String,
) : BundleError(message)

/** The manifest's format version is not one that this release reads. */
public class UnsupportedVersionError(
    message: String,
) : ManifestError(message)

/** A file of the bundle is missing, truncated or altered. */
public class BundleFileError(
    message: String,
) : BundleError(message)

/** A path in the bundle leaves the bundle's folder. */
public class UnsafePathError(
    message: String,
) : BundleError(message)

/** The ONNX graph has other inputs or outputs than the manifest says. */
public class GraphMismatchError(
    message: String,
) : BundleError(message)

/** The ONNX graph has operators or constants that could hang, fill memory, or draw lots. */
public class UnsafeGraphError(
    message: String,
) : BundleError(message)

/** The bundle is for a runtime that this library does not drive. */
public class WrongRuntimeError(
    message: String,
) : BundleError(message)

/** The tokenizer cuts or pads texts, or does not fit the model. */
public class TokenizerError(
    message: String,
) : BundleError(message)

/** This installation does not reproduce the bundle's golden scores. */
public class GoldenMismatchError(
    message: String,
) : BundleError(message)

/** A value passed to a guard cannot be used. */
public open class InputError(
    message: String,
) : HarmGuardError(message)

/** The prompt is empty, or nothing in it is a token. */
public class EmptyPromptError(
    message: String,
) : InputError(message)

/** A text holds lone surrogates, so it is not valid Unicode. */
public class InvalidTextError(
    message: String,
) : InputError(message)

/** A text is longer than the guard takes. */
public class TextTooLongError(
    message: String,
) : InputError(message)

/** The bundle has no operating point of that name, or the number is outside [0, 1]. */
public open class UnknownThresholdError(
    message: String,
) : InputError(message)

/** The bundle has no operating point for streams, and the caller gave no number. */
public class MissingStreamPointError(
    message: String,
) : UnknownThresholdError(message)

/** The answer so far is harmful; [verdict] is the verdict on it. */
public class HarmfulStreamError(
    message: String,
    public val verdict: StreamVerdict,
) : HarmGuardError(message) {
    /** Where the sentence begins that was held back, in code points: so many went out. */
    public val position: Int get() = verdict.start
}

/** The guard was used after `close()`. */
public class GuardClosedError(
    message: String,
) : HarmGuardError(message)

/** The runtime failed on an input: too little memory, or a model that does not take it. */
public class RunError(
    message: String,
) : HarmGuardError(message)
