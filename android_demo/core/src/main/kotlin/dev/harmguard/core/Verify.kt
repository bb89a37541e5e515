@file:JvmName("Verifying")

package dev.harmguard.core

import dev.harmguard.core.bundle.Bundle
import dev.harmguard.core.bundle.JsonError
import dev.harmguard.core.bundle.StrictJson
import dev.harmguard.core.bundle.asObject
import dev.harmguard.core.bundle.chars
import dev.harmguard.core.tokenizers.Tokenizer
import java.io.File
import kotlin.math.abs

/** What the texts beside a text may move its score by: float32 sums in another order. */
private const val BATCH_DIFFERENCE = 0.002
private const val MAX_ROW_BYTES = 4_000_000
private const val MAX_ID = 1L shl 31
private const val MAX_LOGIT = 1e4
private val ROW = setOf("prompt", "response", "ids", "logits", "score", "tolerance")

/** What [verify] checked. */
public class VerifyReport internal constructor(
    /** Files of the bundle, the manifest not counted, and their size together. */
    public val files: Int,
    public val bytes: Long,
    /** Golden pairs replayed. */
    public val rows: Int,
    /** The largest difference between a score and its reference, and the largest tolerance. */
    public val worst: Double,
    public val tolerance: Double,
    /** Whether the hashes of large files were recorded; null if there are none. */
    public val recorded: Boolean?,
)

private class GoldenRow(val prompt: String, val response: String?, val ids: List<Any?>, val score: Double, val tolerance: Double)

/**
 * Hash every file of the bundle and replay its golden pairs: `harmguard/verify.py` in Kotlin.
 *
 * The largest window is tried too: [GraphMismatchError] where the model does not take it.
 *
 * Raises what opening a bundle and a [Guard] raises, and [GoldenMismatchError] for a pair with other token ids, a score
 * further from the reference than its tolerance, or one that the other pairs beside it move.
 */
@JvmOverloads
public fun verify(folder: File, opener: ModelOpener = OnnxModel.opener): VerifyReport {
    val (bundle, recorded) = Bundle.openAndRecord(folder)
    val spec = bundle.manifest.input
    val tokenizer = Tokenizer(bundle.tokenizer)
    val encoder = PairEncoder(tokenizer, spec.template, spec.maxTokens, spec.normalisation)
    val alone = ArrayList<Float>()
    var worst = 0.0
    val rows = goldenRows(bundle)
    opener.open(bundle).use { tryLargest(it, bundle, tokenizer.largestId) }
    Guard(bundle, opener).use { guard ->
        rows.forEachIndexed { at, row ->
            val found = encoder.encode(row.prompt, row.response).windows.map { window -> window.ids.map { it.toLong() } }
            if (found != row.ids) mismatch(at, "other token ids", "those of the row")
            val score = guard.score(row.prompt, row.response)
            worst = maxOf(worst, abs(score - row.score))
            if (!(abs(score - row.score) <= row.tolerance)) mismatch(at, "score $score", "${row.score} within ${row.tolerance}")
            alone.add(score)
        }
        guard.scoreMany(rows.map { it.prompt to it.response }).forEachIndexed { at, score ->
            if (!(abs(score - alone[at]) <= BATCH_DIFFERENCE)) mismatch(at, "score $score beside other rows", "${alone[at]}, as alone")
        }
    }
    val files = bundle.manifest.files.values
    return VerifyReport(files.size, files.sumOf { it.size }, rows.size, worst, rows.maxOf { it.tolerance }, recorded)
}

/** Run the largest window that the bundle promises, of the largest id that a text can get. */
private fun tryLargest(model: Model, bundle: Bundle, id: Int) {
    val spec = bundle.manifest.input
    try {
        model.logits(pad(listOf(Window(IntArray(spec.maxTokens) { id }, IntArray(spec.maxTokens))), spec.padId, spec.maxTokens))
    } catch (_: RunError) {
        throw GraphMismatchError(
            "model.onnx fails on a window of ${spec.maxTokens} tokens with the id $id; expected logits; likely a tokenizer or a " +
                "max_tokens of another model, whose ids or positions have no embedding here",
        )
    }
}

private fun goldenRows(bundle: Bundle): List<GoldenRow> {
    val data = bundle.read("golden.jsonl")
    val rows = ArrayList<GoldenRow>()
    var start = 0
    while (start < data.size) {
        val end = (start until data.size).firstOrNull { data[it] == '\n'.code.toByte() } ?: data.size
        try {
            rows.add(goldenRow(StrictJson.parse(data.copyOfRange(start, end), MAX_ROW_BYTES), bundle))
        } catch (error: JsonError) {
            throw BundleFileError("golden.jsonl, row ${rows.size + 1}: ${error.message}; likely a hostile or hand-made bundle")
        }
        start = end + 1
    }
    if (rows.isEmpty()) throw BundleFileError("golden.jsonl is empty; expected pairs to replay; likely an unfinished export")
    return rows
}

private fun goldenRow(value: Any?, bundle: Bundle): GoldenRow {
    val row = value.asObject()
    if (row?.keys != ROW) throw JsonError("other fields; expected exactly $ROW")
    val maxChars = bundle.manifest.input.maxChars
    val (prompt, response) = row["prompt"] to row["response"]
    val ids = row["ids"] as? List<*>
    val logits = (row["logits"] as? List<*>)?.map { pair -> numbers(pair, MAX_LOGIT) }
    val (score, tolerance) = listOf("score", "tolerance").map { numbers(listOf(row[it]), 1.0)?.single() ?: -1.0 }
    val texts = isText(prompt, maxChars) && prompt != "" && (response == null || isText(response, maxChars))
    val right =
        texts && ids != null && ids.all { list -> list is List<*> && list.all { it is Long && it in -MAX_ID..MAX_ID } } &&
            logits != null && logits.isNotEmpty() && logits.size == ids.size && logits.all { it?.size == 2 } &&
            score >= 0 && tolerance > 0
    if (!right) throw JsonError("a value is not what docs/bundle-format.md describes")
    if (score - tolerance <= 0 && score + tolerance >= 1) throw JsonError("tolerance $tolerance tolerates every score")
    val temperature = bundle.manifest.temperature
    val found = checkNotNull(logits).maxOf { pair -> sigmoid((checkNotNull(pair)[1] - pair[0]) / temperature) }
    if (abs(found - score) > 1e-3) throw JsonError("score $score; its logits give $found at temperature $temperature")
    return GoldenRow(prompt as String, response as String?, checkNotNull(ids), score, tolerance)
}

/** The numbers of a list, each from -[limit] to [limit]; else null. */
private fun numbers(values: Any?, limit: Double): List<Double>? =
    (values as? List<*>)?.map { value -> (value as? Number)?.toDouble()?.takeIf { it in -limit..limit } ?: return null }

/** Whether a guard would take [value] as a text. */
private fun isText(value: Any?, maxChars: Int): Boolean =
    value is String && chars(value) <= maxChars && StrictJson.isUnicode(value)

private fun mismatch(row: Int, found: String, expected: String): Nothing =
    throw GoldenMismatchError(
        "golden.jsonl, row ${row + 1}: $found; expected $expected; likely another release or processor, or a file of another bundle",
    )
