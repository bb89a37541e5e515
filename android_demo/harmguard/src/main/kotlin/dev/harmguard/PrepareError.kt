package dev.harmguard

import dev.harmguard.core.HarmGuardError

/** No copy of a bundle can be made on this device: no such asset, no space, no access. */
public class PrepareError(
    message: String,
    cause: Throwable? = null,
) : HarmGuardError(message, cause)
