package dev.harmguard.core

import dev.harmguard.core.bundle.Bundle
import dev.harmguard.core.bundle.asObject
import dev.harmguard.core.tokenizers.Tokenizer
import dev.harmguard.core.views.ViewName
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.security.MessageDigest
import kotlin.math.abs
import kotlin.math.round
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.params.ParameterizedTest
import org.junit.jupiter.params.provider.ValueSource

/** The vectors of tests/golden, which Python replays in tests/conformance. */
class ConformanceTest {
    private fun texts(name: String) = Checkout.vectors(name).filter { "about" in it }

    private val failures = Checkout.conformance.filter { "error" in it }

    private fun times(line: Map<String, Any?>): Int = (line["times"] as Long? ?: 1L).toInt()

    private fun prompt(line: Map<String, Any?>): String = (line["prompt"] as String).repeat(times(line))

    private fun response(line: Map<String, Any?>): String? = (line["response"] as String?)?.repeat(times(line))

    private fun encoder(bundle: Bundle): PairEncoder {
        val spec = bundle.manifest.input
        return PairEncoder(Tokenizer(bundle.tokenizer), spec.template, spec.maxTokens, spec.normalisation)
    }

    private fun tolerance(name: String, of: String): Double =
        Checkout.vectors(name)[0]["tolerances"].asObject()?.get(name).asObject()?.get(of) as Double

    private fun padded(bundle: Bundle, window: Window): Batch =
        pad(listOf(window), bundle.manifest.input.padId, bundle.manifest.input.maxTokens)

    private fun sha256(bundle: Bundle, batch: Batch): String {
        val arrays = mapOf("input_ids" to batch.ids, "attention_mask" to batch.mask, "token_type_ids" to batch.types)
        val digest = MessageDigest.getInstance("SHA-256")
        for (name in bundle.manifest.input.names) {
            val array = arrays.getValue(name)
            val bytes = ByteBuffer.allocate(8 * array.size).order(ByteOrder.LITTLE_ENDIAN)
            array.forEach(bytes::putLong)
            digest.update(bytes.array())
        }
        return digest.digest().joinToString("") { "%02x".format(it) }
    }

    private fun List<*>.ids(): List<Int> = map { (it as Long).toInt() }

    @ParameterizedTest
    @ValueSource(strings = ["mini", "unigram", "multilingual"])
    fun `every text has Python's ids`(name: String) {
        val encoder = encoder(Checkout.bundles.getValue(name))
        for (line in texts(name)) {
            val expected = checkNotNull(line[name].asObject())
            assertEquals((expected["prompt_ids"] as List<*>).ids(), encoder.ids(prompt(line)).asList(), "${line["about"]}")
            val response = response(line) ?: continue
            assertEquals((expected["response_ids"] as List<*>).ids(), encoder.ids(response).asList(), "${line["about"]}")
        }
        assertTrue(texts(name).size >= 300)
    }

    @ParameterizedTest
    @ValueSource(strings = ["mini", "unigram", "multilingual"])
    fun `every text has Python's windows, padded to the same arrays`(name: String) {
        val bundle = Checkout.bundles.getValue(name)
        val encoder = encoder(bundle)
        for (line in texts(name)) {
            val expected = checkNotNull(line[name].asObject())
            val encoded = encoder.encode(prompt(line), response(line))
            assertEquals((expected["tokens"] as Long).toInt(), encoded.tokens, "${line["about"]}")
            val windows = encoded.windows.mapIndexed { number, window ->
                val batch = padded(bundle, window)
                val view = encoded.view(number).takeIf { it != ViewName.TEXT }?.let { mapOf("view" to "$it") }.orEmpty()
                mapOf("length" to window.ids.size.toLong(), "padded" to batch.length.toLong(), "sha256" to sha256(bundle, batch)) + view
            }
            assertEquals(expected["windows"], windows, "${line["about"]}")
        }
    }

    @ParameterizedTest
    @ValueSource(strings = ["mini", "unigram", "multilingual"])
    fun `every text has Python's verdict`(name: String) {
        val bundle = Checkout.bundles.getValue(name)
        val tolerance = tolerance(name, "score")
        val verdicts = Guard(bundle).use { guard -> guard.checkMany(texts(name).map { prompt(it) to response(it) }) }
        var worst = 0.0
        for ((line, verdict) in texts(name).zip(verdicts)) {
            val expected = checkNotNull(line[name].asObject())
            val score = expected["score"] as Double
            worst = maxOf(worst, abs(score - verdict.score))
            assertEquals(score, verdict.score.toDouble(), tolerance, "${line["about"]}")
            assertEquals(expected["threshold"], verdict.threshold)
            val plain = (expected["windows"] as List<*>).count { "view" !in checkNotNull(it.asObject()) }
            assertEquals((expected["tokens"] as Long).toInt() to plain, verdict.tokens to verdict.windows, "${line["about"]}")
            assertEquals(expected["unreadable"], round(verdict.unreadable * 1e6) / 1e6, "${line["about"]}")
            if (abs(score - verdict.threshold) > tolerance) assertEquals(expected["harmful"], verdict.harmful, "${line["about"]}")
        }
        println("$name: scores differ from Python's by at most $worst")
    }

    @ParameterizedTest
    @ValueSource(strings = ["mini", "unigram", "multilingual"])
    fun `every window has Python's logits`(name: String) {
        val bundle = Checkout.bundles.getValue(name)
        val tolerance = tolerance(name, "logits")
        val encoder = encoder(bundle)
        var worst = 0.0
        OnnxModel.opener.open(bundle).use { model ->
            for (line in texts(name)) {
                val expected = checkNotNull(line[name].asObject())["logits"] as List<*>
                val windows = encoder.encode(prompt(line), response(line)).windows
                for ((row, window) in expected.zip(windows)) {
                    val found = model.logits(padded(bundle, window))[0]
                    for (at in 0..1) worst = maxOf(worst, abs((row as List<*>)[at] as Double - found[at]))
                }
            }
        }
        println("$name: logits differ from Python's by at most $worst")
        assertTrue(worst <= tolerance, "logits differ by $worst")
    }

    @Test
    fun `texts and thresholds are refused by Python's names`() {
        // A text that is no text cannot be written down in Kotlin: InputTypeError has no counterpart.
        val lines = failures.filter { "bundle" !in it && it["error"] != "InputTypeError" }
        Guard(Checkout.bundles.getValue("unigram")).use { guard ->
            for (line in lines) {
                val error = assertFailsWith<HarmGuardError>("${line["error"]}") {
                    if ("threshold" in line) {
                        Guard(Checkout.bundles.getValue("unigram"), threshold = "${line["threshold"]}").close()
                    } else {
                        guard.score(prompt(line), response(line))
                    }
                }
                assertEquals(line["error"], error.javaClass.simpleName)
            }
        }
        assertTrue(lines.size >= 13)
    }
}
