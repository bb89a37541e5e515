package dev.harmguard.core

import dev.harmguard.core.bundle.Bundle

/** HarmGuard: a harm score for a prompt, or for a prompt and its response. */
public class Guard
    @JvmOverloads
    constructor(
        bundle: Bundle,
        opener: ModelOpener,
        threshold: String = "default",
    ) : AutoCloseable {
        /** P(harmful), in [0, 1], of the exchange, or of the prompt alone if [response] is null. */
        @JvmOverloads
        public fun score(
            prompt: String,
            response: String? = null,
        ): Float = TODO()

        /** The score with the decision taken on it. Raises what [score] raises. */
        @JvmOverloads
        public fun check(
            prompt: String,
            response: String? = null,
        ): Verdict = TODO()

        /** P(harmful) of each pair, in the order of the input. Raises what [score] raises, with the pair's index. */
        public fun scoreMany(pairs: List<Pair<String, String?>>): FloatArray = TODO()

        /** The verdict on each pair, in the order of the input. */
        public fun checkMany(pairs: List<Pair<String, String?>>): List<Verdict> = TODO()

        /** Free the model, once the calls under way have ended. Later ones raise [GuardClosedError]. */
        override fun close(): Unit = TODO()
    }
