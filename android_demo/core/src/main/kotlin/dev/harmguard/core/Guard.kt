package dev.harmguard.core

import dev.harmguard.core.bundle.Bundle
import dev.harmguard.core.bundle.Manifest
import dev.harmguard.core.tokenizers.Tokenizer
import dev.harmguard.core.views.ViewName
import java.util.concurrent.locks.ReentrantReadWriteLock
import kotlin.concurrent.read
import kotlin.concurrent.write

/** Tokens that are encoded and not yet scored at most, so that input of any size fits memory. */
private const val MAX_PENDING_TOKENS = 1 shl 18

/** Logits of windows by their content. */
internal typealias Known = MutableMap<Window, FloatArray>

private class Pending(val kind: String, val encoded: Encoded, val unreadable: Double)

private class Scored(val score: Float, val pending: Pending, val view: ViewName)

/**
 * A harm score for a prompt, or for a prompt and its response: `harmguard/guard.py` in Kotlin.
 *
 * A text is valid Unicode of at most [maxChars] code points; a prompt must hold at least one token, a response may be
 * empty. A response of null means that there is none, and the score is the prompt's; otherwise it is the exchange's.
 * [threshold] is an operating point of the bundle, or a number in [0, 1] as text; only [check] uses it.
 *
 * All methods may be called from several threads at once.
 */
public class Guard
@JvmOverloads
constructor(
    bundle: Bundle,
    opener: ModelOpener = OnnxModel.opener,
    threshold: String = "default",
    private val longText: LongText = LongText.WINDOW,
    maxChars: Int? = null,
) : AutoCloseable {
    private val manifest: Manifest = bundle.manifest
    private val spec = manifest.input
    private val thresholds = checkedThresholds(manifest, threshold)
    private val encoder: PairEncoder
    private val reader: Reader
    private val model: Model
    private val lock = ReentrantReadWriteLock()
    private var closed = false

    /** The most characters (code points) that a prompt or a response may have. */
    public val maxChars: Int = maxChars ?: spec.maxChars

    /** The name in the bundle's manifest. */
    public val name: String get() = manifest.name

    init {
        if (this.maxChars !in 1..spec.maxChars) {
            throw InputError("max_chars is ${this.maxChars}; expected from 1 to ${spec.maxChars}, the bundle's own")
        }
        val tokenizer = Tokenizer(bundle.tokenizer)
        encoder = PairEncoder(tokenizer, spec.template, spec.maxTokens, spec.normalisation)
        reader = Reader(tokenizer, manifest.scripts?.toSet(), hasViews = spec.normalisation != "none")
        model = opener.open(bundle)
        try {
            probe(tokenizer)
        } catch (error: HarmGuardError) {
            model.close()
            throw error
        }
    }

    /**
     * P(harmful), in [0, 1], of the exchange, or of the prompt alone if [response] is null.
     *
     * Raises [EmptyPromptError], [InvalidTextError], [TextTooLongError] or [GuardClosedError]; for a bundle that
     * loads and fails on this text [GraphMismatchError] or [RunError].
     */
    @JvmOverloads
    public fun score(prompt: String, response: String? = null): Float =
        open { run(listOf(pending(prompt, response, "", reads = false))).single().score }

    /** The score with the decision taken on it. Raises what [score] raises. */
    @JvmOverloads
    public fun check(prompt: String, response: String? = null): Verdict =
        open { verdict(run(listOf(pending(prompt, response, "", reads = true))).single()) }

    /** P(harmful) of each pair, in the order of the input: those of [score]. Raises what it raises, with the index. */
    public fun scoreMany(pairs: List<Pair<String, String?>>): FloatArray = open {
        scoreAll(pairs, reads = false).map { it.score }.toFloatArray()
    }

    /** The verdict on each pair, in the order of the input. Raises what [score] raises, with the pair's index. */
    public fun checkMany(pairs: List<Pair<String, String?>>): List<Verdict> = open {
        scoreAll(pairs, reads = true).map(::verdict)
    }

    /** The sentences of a response, or of a prompt alone, with their part in the verdict. Raises what [score] raises. */
    @JvmOverloads
    public fun explain(prompt: String, response: String? = null): Explanation = explain(::checkMany, prompt, response)

    /**
     * What holds an answer until it is judged: see [Gate]. [threshold] is an operating point for exchanges, or a number in
     * [0, 1] as text. Raises what [score] raises on the prompt, [MissingStreamPointError] or [UnknownThresholdError].
     */
    @JvmOverloads
    public fun gate(
        prompt: String,
        threshold: String = STREAM,
        hold: Hold = Hold.SENTENCE,
        onHarm: OnHarm = OnHarm.RAISE,
    ): Gate {
        val value = streamThreshold(manifest.thresholds.getValue("exchange"), threshold, name)
        open { encode(prompt, "", "") }
        val known: Known = HashMap()
        return Gate(value, hold, onHarm) { answer -> checkKnown(prompt, answer, known) }
    }

    /** Free the model, once the calls under way have ended. Later ones raise [GuardClosedError]. */
    override fun close(): Unit = lock.write {
        if (!closed) model.close()
        closed = true
    }

    /** As [check] of an exchange, but for windows whose logits are [known]; it then holds those of this exchange. */
    private fun checkKnown(prompt: String, response: String, known: Known): Verdict =
        open { verdict(run(listOf(pending(prompt, response, "", reads = true)), known).single()) }

    private inline fun <T> open(work: () -> T): T = lock.read {
        if (closed) throw GuardClosedError("this guard is closed; expected an open one; make a new one")
        work()
    }

    private fun scoreAll(pairs: List<Pair<String, String?>>, reads: Boolean): List<Scored> {
        val scored = ArrayList<Scored>(pairs.size)
        val waiting = ArrayList<Pending>()
        var tokens = 0
        pairs.forEachIndexed { index, (prompt, response) ->
            val one = pending(prompt, response, "pair $index: ", reads)
            waiting.add(one)
            tokens += one.encoded.windows.sumOf { it.ids.size }
            if (tokens >= MAX_PENDING_TOKENS) {
                scored.addAll(run(waiting))
                waiting.clear()
                tokens = 0
            }
        }
        return scored + run(waiting)
    }

    private fun pending(prompt: String, response: String?, where: String, reads: Boolean): Pending {
        val encoded = encode(prompt, response, where)
        val unreadable = if (reads) reader.unreadable(prompt, response) else 0.0
        return Pending(if (response == null) "prompt" else "exchange", encoded, unreadable)
    }

    private fun encode(prompt: String, response: String?, where: String): Encoded {
        checkText(prompt, where + "prompt", maxChars)
        if (prompt.isEmpty()) {
            throw EmptyPromptError("${where}prompt is empty; expected at least one character; likely a missing field")
        }
        if (response != null) checkText(response, where + "response", maxChars)
        val encoded = encoder.encode(prompt, response)
        if (encoded.promptTokens == 0) {
            throw EmptyPromptError(
                "${where}prompt has ${grouped(prompt.codePointCount(0, prompt.length))} characters and no token; expected " +
                    "at least one; likely spaces or invisible characters alone",
            )
        }
        if (longText == LongText.ERROR && encoded.plain > 1) {
            throw TextTooLongError(
                "$where${grouped(encoded.tokens)} tokens; expected what fits one input of ${spec.maxTokens} with its " +
                    "special tokens; LongText.WINDOW scores it in windows",
            )
        }
        return encoded
    }

    private fun run(waiting: List<Pending>, known: Known? = null): List<Scored> {
        val windows = waiting.flatMap { it.encoded.windows }
        val logits = if (known == null) logits(windows) else through(known, windows, ::logits)
        if (logits.any { row -> row.any { it.isNaN() || it.isInfinite() } }) {
            throw GraphMismatchError(
                "the model gave a logit that is not finite; expected finite ones; likely a damaged model, or one that " +
                    "overflows in its precision",
            )
        }
        var start = 0
        return waiting.map { one ->
            val own = logits.subList(start, start + one.encoded.windows.size)
            start += own.size
            Scored(textScore(own, manifest.temperature).toFloat(), one, one.encoded.view(winner(own)))
        }
    }

    private fun logits(windows: List<Window>): List<FloatArray> =
        windowLogits(windows, spec.padId, spec.maxTokens, model::logits)

    private fun verdict(scored: Scored): Verdict {
        val threshold = thresholds.getValue(scored.pending.kind)
        val encoded = scored.pending.encoded
        return Verdict(
            scored.score,
            threshold,
            scored.score >= threshold,
            encoded.tokens,
            encoded.plain,
            scored.view,
            scored.pending.unreadable,
            name,
        )
    }

    /** Run a short text of each kind, and a row of the largest ids and types. Raises GraphMismatchError. */
    private fun probe(tokenizer: Tokenizer) {
        val pieces = spec.template.pieces
        val ids = (pieces.mapNotNull { it.id } + spec.padId + tokenizer.largestId).toSortedSet().toList().takeLast(spec.maxTokens)
        val types = pieces.map { it.type }.toSortedSet().toList()
        val largest = Window(ids.toIntArray(), IntArray(ids.size) { types[it % types.size] })
        val windows = listOf(null, PROBE).map { encoder.encode(PROBE, it).windows[0] } + largest
        try {
            model.logits(pad(windows, spec.padId, spec.maxTokens))
        } catch (_: RunError) {
            throw GraphMismatchError(
                "model.onnx fails on short probes with token ids up to ${ids.last()}, pad ${spec.padId} and types $types; " +
                    "expected logits; likely a tokenizer or a template of another model, whose ids have no embedding here",
            )
        }
    }

    private companion object {
        const val PROBE = "Hello"
    }
}

/** Logits of windows, of which those in [known] are not computed again; it then holds these and no others. */
internal fun through(known: Known, windows: List<Window>, logits: (List<Window>) -> List<FloatArray>): List<FloatArray> {
    val new = windows.filter { it !in known }.distinct()
    val fresh = known + if (new.isEmpty()) emptyMap() else new.zip(logits(new)).toMap()
    known.clear()
    windows.associateWithTo(known, fresh::getValue)
    return windows.map(fresh::getValue)
}
