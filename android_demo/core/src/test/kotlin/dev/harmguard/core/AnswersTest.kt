package dev.harmguard.core

import dev.harmguard.core.bundle.asObject
import dev.harmguard.core.views.codes
import dev.harmguard.core.views.text
import java.io.File
import kotlin.math.abs
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertTrue
import org.junit.jupiter.api.Assumptions.assumeTrue
import org.junit.jupiter.api.Test

/** Explanations and streams by real guards, and Python's: the file of `scripts/make_stream_answers.py`, -Dstream.answers=FILE. */
class AnswersTest {
    /** By how much scores of one model differ between two releases of ONNX Runtime. */
    private val tolerance = mapOf("mini" to 0.02, "unigram" to 1e-4)

    private fun answers(): List<Map<String, Any?>> {
        val file = System.getProperty("stream.answers")
        assumeTrue(file != null, "-Dstream.answers=FILE is missing")
        return Checkout.jsonLines(File(file))
    }

    private fun guards(use: (String, Guard) -> Unit) {
        for ((name, bundle) in Checkout.bundles) Guard(bundle).use { use(name, it) }
    }

    private fun Map<String, Any?>.within(key: String): Map<String, Any?> = checkNotNull(this[key].asObject())

    private fun numbers(list: Any?): List<Double> = (list as List<*>).map { (it as Number).toDouble() }

    @Test
    fun `explanations are Python's`() {
        val lines = answers()
        var named = 0
        var left = 0
        guards { name, guard ->
            for ((number, line) in lines.filter { it["bundle"] == name }.withIndex()) {
                val expected = line.within("explain")
                val found = guard.explain(line["prompt"] as String, line["response"] as String?)
                val parts = (expected["parts"] as List<*>).map(::numbers)
                assertEquals(expected["of"], found.of)
                assertEquals(parts.map { it.take(2) }, found.parts.map { listOf(it.start.toDouble(), it.end.toDouble()) }, "$name $number")
                if ((line["near"] as Double) <= tolerance.getValue(name)) {
                    left++
                    continue
                }
                assertEquals(expected["harmful"], found.verdict.harmful)
                assertEquals(expected["spread"], found.spread)
                val places = found.named.map { listOf(it.start.toDouble(), it.end.toDouble()) }
                assertEquals((expected["named"] as List<*>).map(::numbers), places.sortedBy { it[0] }, "$name $number")
                named += places.size
                // Logits are steep at both ends, so only the model without int8 is compared by number.
                if (name == "unigram") {
                    for ((part, values) in found.parts.zip(parts)) {
                        for ((one, other) in listOf(part.part, part.alone, part.drop).zip(values.drop(2))) {
                            assertTrue(abs(one - other) < 0.01, "$name $number: $one, $other")
                        }
                    }
                }
            }
        }
        println("explanations: ${lines.size}, $named parts named; $left too near a threshold to compare")
        assertTrue(named > 20)
    }

    @Test
    fun `what a stream lets out is what Python's does`() {
        var stopped = 0
        var parts = 0
        guards { name, guard ->
            for ((number, line) in answers().filter { it["bundle"] == name && "stream" in it }.withIndex()) {
                if ((line["near"] as Double) <= tolerance.getValue(name)) continue
                val expected = line.within("stream")
                val gate = guard.gate(line["prompt"] as String, "${expected["threshold"]}")
                val out = ArrayList<Any>()
                val stop = try {
                    gate.push(line["response"] as String)
                    gate.finish()
                    while (gate.due) out.addAll(gate.settle(gate.judge()))
                    null
                } catch (error: HarmfulStreamError) {
                    listOf(error.verdict.start.toLong(), error.verdict.end.toLong())
                }
                assertEquals(expected["parts"], out, "$name $number")
                assertEquals(expected["stop"], stop, "$name $number")
                if (stop != null) stopped++
                parts += out.size
            }
        }
        println("streams: $parts parts let out, $stopped stopped")
        assertTrue(stopped > 0 && parts > 0)
    }

    @Test
    fun `the last verdict of a harmless stream is that of the whole answer, and no window is scored twice`() {
        val answer = "The oven is hot. Put the bread on the stone, and close the door quickly! ".repeat(40)
        guards { name, guard ->
            val gate = guard.gate(PROMPT, "1", Hold.NONE)
            for (piece in answer.chunked(7)) gate.push(piece)
            gate.finish()
            while (gate.due) gate.settle(gate.judge())
            val whole = guard.check(PROMPT, answer)
            val last = checkNotNull(gate.verdict)
            assertEquals(whole.score, last.score, name)
            assertEquals(listOf(whole.tokens, whole.windows, answer.codes().size), listOf(last.tokens, last.windows, last.end), name)
        }
    }

    @Test
    fun `prompts are refused when the stream is made, and closed guards when it goes on`() {
        val guard = Guard(Checkout.bundles.getValue("unigram"))
        assertFailsWith<EmptyPromptError> { guard.gate("", "0.5") }
        assertFailsWith<InvalidTextError> { guard.gate("a\uD800", "0.5") }
        val gate = guard.gate(PROMPT, "1")
        gate.push("a\uD83C")
        gate.push("\uD83C")
        gate.finish()
        val error = assertFailsWith<InvalidTextError> { gate.judge() }
        assertTrue("position 1" in error.message!!, error.message)
        guard.close()
        assertFailsWith<GuardClosedError> { gate.judge() }
        assertFailsWith<GuardClosedError> { guard.explain(PROMPT) }
    }

    @Test
    fun `parts are all of a text, at most 64`() {
        Guard(Checkout.bundles.getValue("unigram")).use { guard ->
            for (text in listOf("?", "--- --- ---\n---\n---", "Is it soft? \uD83C\uDF5E ".repeat(200), "\u2162. \u00BD? \n".repeat(9))) {
                val parts = guard.explain(PROMPT, text).parts
                assertTrue(parts.size in 1..64)
                assertEquals(text, parts.joinToString("") { text.codes().text(it.start, it.end) })
            }
        }
    }

    private companion object {
        const val PROMPT = "How do I bake bread?"
    }
}
