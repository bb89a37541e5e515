package dev.harmguard.core

import dev.harmguard.core.bundle.Threshold
import dev.harmguard.core.views.codes
import java.util.Locale

/** The operating point of streams, under `thresholds.exchange`. */
public const val STREAM: String = "stream"

/**
 * The least characters that are judged at once, white space not counted: each further verdict costs work, and moves the
 * threshold, because benign answers have one more chance to be stopped.
 */
private const val STREAM_SENTENCE = 180

/** The most characters that are held, white space counted. */
private const val STREAM_LONGEST = 360

/** What comes out of a [Gate]. */
public enum class Hold {
    /** Text, each part once the answer up to its end is harmless. */
    SENTENCE,

    /** A [StreamVerdict] wherever a part ends, for apps that show the text first. */
    NONE,
}

/** What a [Gate] does at the first harmful verdict. */
public enum class OnHarm {
    /** It throws [HarmfulStreamError]. */
    RAISE,

    /** It ends; its last item is always the last [StreamVerdict], harmful or not. */
    VERDICT,
}

/** The number that [threshold], a name or a number as text, stands for among a guard's operating points of exchanges. */
internal fun streamThreshold(points: Map<String, Threshold>, threshold: String, name: String): Double {
    points[threshold]?.let { return it.value }
    if (threshold == STREAM) {
        throw MissingStreamPointError(
            "guard '$name' has no operating point thresholds.exchange.$STREAM; expected one; likely a bundle calibrated by " +
                "an older release: `harmguard calibrate` fits it, or give a number as threshold",
        )
    }
    val number = if (threshold.all { it in "0123456789.+-eE" }) threshold.toDoubleOrNull() else null
    if (number != null && number in 0.0..1.0) return number
    throw UnknownThresholdError(
        if (number != null) {
            "threshold is $number; expected a number in [0, 1]"
        } else {
            "no operating point of ${threshold.length} characters for exchanges in guard '$name'; expected a number or one " +
                "of ${points.keys.sorted().joinToString()}; likely a spelling mistake"
        },
    )
}

/**
 * Holds the text of an answer that is judged while it is written, and decides what goes out: text comes in by [push],
 * then [finish], is judged by [judge] while it is [due], and goes out by [settle]; at the very end [last] may have one
 * more item. Used by one thread at a time; [judge] takes the time of a score.
 */
public class Gate internal constructor(
    private val threshold: Double,
    private val hold: Hold,
    private val onHarm: OnHarm,
    private val check: (String) -> Verdict,
) {
    private val cutter = Cutter(STREAM_SENTENCE, STREAM_LONGEST)
    private val ends = ArrayDeque<Int>()
    private val judged = StringBuilder()
    private val held = StringBuilder()

    /** Half of a character that the next piece completes. */
    private var half = ""

    /** The last verdict so far; null before the first. */
    public var verdict: StreamVerdict? = null
        private set

    /** Whether there is something to judge. */
    public val due: Boolean get() = ends.isNotEmpty()

    /** Whether a verdict was harmful. */
    public val stopped: Boolean get() = verdict?.harmful == true

    /** Take a piece of the answer; it may end within a character. */
    public fun push(chunk: String) {
        val whole = half + chunk
        half = whole.takeLastWhile { it.isHighSurrogate() }.takeLast(1)
        take(whole.dropLast(half.length))
    }

    private fun take(text: String) {
        ends += cutter.push(text.codes())
        held.append(text)
    }

    /** Say that nothing more comes: what is held is judged as it is. */
    public fun finish() {
        take(half)
        half = ""
        val size = size(judged) + size(held)
        if ((held.isNotEmpty() || verdict == null) && (ends.isEmpty() || ends.last() < size)) ends += size
    }

    private fun size(text: CharSequence): Int = Character.codePointCount(text, 0, text.length)

    /** The verdict on the answer up to the next end. Raises what [Guard.score] raises; then nothing of what is held goes out. */
    public fun judge(): StreamVerdict {
        val start = size(judged)
        val end = ends.first()
        val text = judged.toString() + held.substring(0, held.offsetByCodePoints(0, end - start))
        return StreamVerdict(check(text), threshold, start, end)
    }

    /** What goes out on a verdict: a text, or a [StreamVerdict]. Raises [HarmfulStreamError]. */
    public fun settle(verdict: StreamVerdict): List<Any> {
        this.verdict = verdict
        ends.removeFirst()
        val cut = held.offsetByCodePoints(0, verdict.end - verdict.start)
        val part = held.substring(0, cut)
        held.delete(0, cut)
        judged.append(part)
        if (!verdict.harmful) return listOf(if (hold == Hold.NONE) verdict else part)
        drop()
        if (onHarm == OnHarm.VERDICT) return if (hold == Hold.NONE) listOf(verdict) else emptyList()
        val score = String.format(Locale.ROOT, "%.4f", verdict.score)
        throw HarmfulStreamError(
            "the answer is harmful up to character ${grouped(verdict.end)} (score $score, threshold ${verdict.threshold}); " +
                "characters from ${grouped(verdict.start)} on were held back",
            verdict,
        )
    }

    /** What goes out at the very end: the verdict, for a caller who chose that. */
    public fun last(): List<Any> = if (onHarm == OnHarm.VERDICT && hold == Hold.SENTENCE) listOfNotNull(verdict) else emptyList()

    /** Forget the text. */
    public fun drop() {
        judged.setLength(0)
        held.setLength(0)
        half = ""
        ends.clear()
    }
}
