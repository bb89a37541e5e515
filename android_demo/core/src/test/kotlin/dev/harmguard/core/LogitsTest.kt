package dev.harmguard.core

import ai.onnxruntime.OrtEnvironment
import java.io.File
import kotlin.math.abs
import kotlin.test.assertEquals
import kotlin.test.assertTrue
import org.junit.jupiter.api.Assumptions.assumeTrue
import org.junit.jupiter.api.Test

/** Golden windows by Python's onnxruntime of the same release: the file of `scripts/make_android_logits.py`, by -Dlogits=FILE. */
class LogitsTest {
    private fun List<*>.ints() = IntArray(size) { (this[it] as Long).toInt() }

    @Test
    fun `the same onnxruntime gives the same logits`() {
        val file = System.getProperty("logits")?.let(::File)
        assumeTrue(file != null, "-Dlogits=FILE is missing")
        val lines = Checkout.jsonLines(checkNotNull(file))
        assertEquals(lines[0]["onnxruntime"], OrtEnvironment.getEnvironment().version)
        var worst = 0.0
        for ((name, rows) in lines.drop(1).groupBy { it["bundle"] as String }) {
            val spec = Checkout.bundles.getValue(name).manifest.input
            OnnxModel.opener.open(Checkout.bundles.getValue(name)).use { model ->
                for (row in rows) {
                    val window = Window((row["ids"] as List<*>).ints(), (row["types"] as List<*>).ints())
                    val found = model.logits(pad(listOf(window), spec.padId, spec.maxTokens))[0]
                    (row["logits"] as List<*>).forEachIndexed { at, value -> worst = maxOf(worst, abs(value as Double - found[at])) }
                }
            }
        }
        println("logits: ${lines.size - 1} golden windows differ from Python's by at most $worst")
        assertTrue(worst <= 1e-5, "logits differ by $worst")
    }
}
