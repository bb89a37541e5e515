package dev.harmguard.core

import dev.harmguard.core.views.Tables
import dev.harmguard.core.views.codes
import dev.harmguard.core.views.text
import kotlin.math.ln
import kotlin.math.ln1p
import kotlin.math.pow

/** Texts of more sentences are explained in groups of neighbours. */
private const val MOST_PARTS = 64

/** What a logit of a sentence alone counts beside one that the text loses without it. */
private const val WEIGHT_ALONE = 0.3

/**
 * A sentence, or a group of neighbours, and what it has to do with the verdict. [start] and [end] count code points:
 * `text.offsetByCodePoints(0, start)` is its place in a string.
 */
public data class Part(
    public val start: Int,
    public val end: Int,
    /** Its part in the verdict, in logits: [drop] and .3 of [alone]; for ranking. */
    public val part: Double,
    /** The logit of the part alone, with the prompt, less that of the threshold. */
    public val alone: Double,
    /** How many logits the text loses without it; 0 where the part is the whole text. */
    public val drop: Double,
)

/** The parts of a text that its verdict comes from. */
public data class Explanation(
    /** That of `check`. */
    public val verdict: Verdict,
    /** Which text the offsets are of: "prompt" or "response". */
    public val of: String,
    /** All parts, in the order of the text; together they are all of it. */
    public val parts: List<Part>,
    /**
     * The parts that the verdict comes from, the first one first; empty if nothing is flagged. A part is named if it is
     * harmful alone, or if the text is harmless without it; where there is none such, every part is.
     */
    public val named: List<Part>,
    /** Whether the harm is in all parts, or in none of them alone. */
    public val spread: Boolean,
)

/** Explain a verdict of the guard whose [checkMany] this is. */
internal fun explain(checkMany: (List<Pair<String, String?>>) -> List<Verdict>, prompt: String, response: String?): Explanation {
    val text = (response ?: prompt).codes()
    val spans = partsOf(text)
    val pairs = arrayListOf(prompt to response)
    if (spans.size > 1) {
        fun pair(some: String): Pair<String, String?> = if (response == null) some to null else prompt to some
        for ((start, end) in spans) pairs += pair(text.text(start, end))
        for ((start, end) in spans) pairs += pair(text.text(0, start) + text.text(end))
    }
    val verdicts = checkMany(pairs)
    val whole = verdicts[0]
    val z = verdicts.map { logit(it.score.toDouble()) }
    val parts = spans.mapIndexed { at, (start, end) ->
        val single = spans.size == 1
        val alone = (if (single) z[0] else z[at + 1]) - logit(whole.threshold)
        val drop = if (single) 0.0 else z[0] - z[at + 1 + spans.size]
        Part(start, end, drop + WEIGHT_ALONE * alone, alone, drop)
    }
    val named = if (whole.harmful) named(parts, verdicts) else emptyList()
    val of = if (response == null) "prompt" else "response"
    return Explanation(whole, of, parts, named, whole.harmful && parts.size > 1 && named.size == parts.size)
}

private fun named(parts: List<Part>, verdicts: List<Verdict>): List<Part> {
    val count = parts.size
    val causes = parts.filterIndexed { at, _ -> count == 1 || verdicts[at + 1].harmful || !verdicts[at + 1 + count].harmful }
    return causes.ifEmpty { parts }.sortedWith(compareBy({ -it.part }, { it.start }))
}

/** The inverse of [sigmoid]. A score that float32 rounds to 0 or 1 gives the largest difference that it can tell apart. */
private fun logit(score: Double): Double = score.coerceIn(2.0.pow(-24), 1 - 2.0.pow(-24)).let { ln(it) - ln1p(-it) }

/**
 * The parts of a text as offsets: sentences with a letter or digit each, at most [MOST_PARTS]. Sentences without any are
 * joined to the one before, or to the first with some.
 */
private fun partsOf(text: IntArray): List<Pair<Int, Int>> {
    val joined = ArrayList<Pair<Int, Int>>()
    var wordless = true // so far
    for (sentence in sentences(text, SENTENCE, LONGEST)) {
        val hasWords = sentence.any { isAlphanumeric(text[it]) }
        val joins = joined.isNotEmpty() && (wordless || !hasWords)
        joined += (if (joins) joined.removeAt(joined.size - 1).first else sentence.first) to sentence.last + 1
        wordless = wordless && !hasWords
    }
    val size = (joined.size + MOST_PARTS - 1) / MOST_PARTS
    return joined.chunked(maxOf(1, size)) { it.first().first to it.last().second }
}

/** By the shipped table; it has no kind of its own for numbers that are no digits, as in fractions and Roman numerals. */
private fun isAlphanumeric(c: Int): Boolean =
    Tables.kindOf(c) in "LN" || Character.getType(c).let { it == Character.LETTER_NUMBER.toInt() || it == Character.OTHER_NUMBER.toInt() }
