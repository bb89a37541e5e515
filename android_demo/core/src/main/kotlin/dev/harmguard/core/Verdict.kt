package dev.harmguard.core

import dev.harmguard.core.views.ViewName

/** A harm score and the decision taken on it. */
public open class Verdict(
    /** P(harmful) in [0, 1]; of a text in several windows, the highest of theirs. */
    public val score: Float,
    /** Scores at or above it are harmful, in [0, 1]. */
    public val threshold: Double,
    /** `score >= threshold`. */
    public val harmful: Boolean,
    /** Tokens of the prompt and the response, without special tokens. */
    public val tokens: Int,
    /** How many windows the texts as they are have; 1 unless longer than the model's input. */
    public val windows: Int,
    /** The view of the texts that the score is of. */
    public val view: ViewName = ViewName.TEXT,
    /**
     * Share of characters, in [0, 1], that the guard has no token for or whose script it was not
     * trained on; of an exchange the higher of both. A low score of such a text says little.
     */
    public val unreadable: Double = 0.0,
    /** The name of the guard that decided. */
    public val guard: String = "",
) {
    internal open fun values(): List<Any> = listOf(score, threshold, harmful, tokens, windows, view, unreadable, guard)

    final override fun equals(other: Any?): Boolean = other is Verdict && other.javaClass == javaClass && other.values() == values()

    final override fun hashCode(): Int = values().hashCode()

    override fun toString(): String =
        "${javaClass.simpleName}(score=$score, threshold=$threshold, harmful=$harmful, tokens=$tokens, " +
            "windows=$windows, view=$view, unreadable=$unreadable, guard=$guard)"
}

/** The verdict on an answer up to [end]: `threshold` and `harmful` are the stream's. */
public class StreamVerdict(
    verdict: Verdict,
    threshold: Double,
    /** Characters (code points) that were judged before; if harmful, what went out at most. */
    public val start: Int,
    /** Characters of the answer that the score is of. */
    public val end: Int,
) : Verdict(
    verdict.score,
    threshold,
    verdict.score >= threshold,
    verdict.tokens,
    verdict.windows,
    verdict.view,
    verdict.unreadable,
    verdict.guard,
) {
    override fun values(): List<Any> = super.values() + listOf(start, end)
}
