package dev.harmguard.core

import dev.harmguard.core.bundle.Threshold
import dev.harmguard.core.views.codes
import dev.harmguard.core.views.text
import java.util.Random
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertFalse
import kotlin.test.assertNull
import kotlin.test.assertTrue
import org.junit.jupiter.api.Test

/** What a gate lets out; the verdicts are made by rules of the tests here, and by a guard in GuardTest. */
class StreamTest {
    private val prose = "The oven is hot. Put the bread on the stone \uD83C\uDF5E, and close the door quickly! ".repeat(12)
    private val seen = ArrayList<String>()

    private fun gate(hold: Hold = Hold.SENTENCE, onHarm: OnHarm = OnHarm.RAISE, harmful: (String) -> Boolean = { false }) =
        Gate(0.5, hold, onHarm) { answer ->
            seen += answer
            Verdict(if (harmful(answer)) 0.9f else 0.1f, 0.9, false, 1, 1)
        }

    private fun Gate.settled(): List<Any> = ArrayList<Any>().also { while (due) it.addAll(settle(judge())) }

    private fun Gate.items(chunks: List<String>): List<Any> {
        val out = ArrayList<Any>()
        for (chunk in chunks) {
            push(chunk)
            out.addAll(settled())
            if (stopped) return out + last()
        }
        finish()
        return out + settled() + last()
    }

    private fun partsOf(answer: String): List<String> {
        val text = answer.codes()
        val ends = Cutter(180, 360).push(text).let { if (it.lastOrNull() == text.size) it else it + text.size }
        return ends.mapIndexed { at, end -> text.text(if (at == 0) 0 else ends[at - 1], end) }
    }

    private fun cut(text: String, random: Random): List<String> {
        val chunks = ArrayList<String>()
        var at = 0
        while (at < text.length) {
            val next = minOf(text.length, at + random.nextInt(12))
            chunks += text.substring(at, next)
            at = next
        }
        return chunks
    }

    @Test
    fun `what comes out is what went in, in the same parts however it was cut, within characters too`() {
        val parts = partsOf(prose)
        assertTrue(parts.size > 3)
        for (seed in 0L..50L) {
            seen.clear()
            val found = gate().items(cut(prose, Random(seed)))
            assertEquals(parts, found)
            assertEquals(prose, found.joinToString(""))
            assertEquals(parts.runningReduce { all, part -> all + part }, seen)
        }
    }

    @Test
    fun `nothing of the part at whose verdict it stops leaves`() {
        val parts = partsOf(prose)
        val bad = parts.take(3).joinToString("")
        val gate = gate { it.length >= bad.length }
        val out = ArrayList<Any>()
        val error = assertFailsWith<HarmfulStreamError> {
            for (c in prose) {
                gate.push(c.toString())
                while (gate.due) out.addAll(gate.settle(gate.judge()))
            }
        }
        assertEquals<List<Any>>(parts.take(2), out)
        assertEquals(parts.take(2).joinToString("").codes().size, error.position)
        assertEquals(bad.codes().size, error.verdict.end)
        assertEquals(0.5, error.verdict.threshold)
        assertTrue(error.verdict.harmful && gate.stopped)
        assertFalse(gate.due)
        assertFalse("oven" in error.message!!)
        assertTrue("up to character ${bad.codes().size} (score 0.9000, threshold 0.5)" in error.message!!, error.message)
    }

    @Test
    fun `with verdicts the last item is the last verdict`() {
        val harmless = gate(onHarm = OnHarm.VERDICT)
        val items = harmless.items(listOf(prose))
        assertEquals<Any?>(harmless.verdict, items.last())
        assertEquals(prose, items.dropLast(1).joinToString(""))
        val harmful = gate(onHarm = OnHarm.VERDICT) { true }
        assertEquals(listOf<Any?>(harmful.items(listOf(prose)).single()), listOf<Any?>(harmful.verdict))
    }

    @Test
    fun `without a hold there is a verdict wherever a part ends`() {
        val verdicts = gate(Hold.NONE).items(listOf(prose)).map { it as StreamVerdict }
        var end = 0
        for ((part, verdict) in partsOf(prose).zip(verdicts)) {
            assertEquals(end, verdict.start)
            end += part.codes().size
            assertEquals(end, verdict.end)
        }
        assertEquals(partsOf(prose).size, verdicts.size)
        val stopped = gate(Hold.NONE, OnHarm.VERDICT) { it.length > 400 }.items(listOf(prose)).map { it as StreamVerdict }
        assertEquals(List(stopped.size - 1) { false } + true, stopped.map { it.harmful })
    }

    @Test
    fun `an empty answer is judged once, and half a character is not lost`() {
        assertEquals(listOf<Any>(""), gate().items(emptyList()))
        assertEquals(listOf<Any>("a\uD83C"), gate().items(listOf("a\uD83C")))
        assertEquals(listOf("", "a\uD83C"), seen)
    }

    @Test
    fun `an error of the guard releases nothing, and a dropped gate holds nothing`() {
        val gate = Gate(0.5, Hold.SENTENCE, OnHarm.RAISE) { throw RunError("no") }
        gate.push(prose)
        assertTrue(gate.due)
        assertFailsWith<RunError> { gate.judge() }
        assertNull(gate.verdict)
        gate.drop()
        assertFalse(gate.due)
    }

    @Test
    fun `a threshold is an operating point or a number`() {
        val points = mapOf("default" to Threshold(0.4, null, "r"), "stream" to Threshold(0.6, null, "r"))
        assertEquals(0.6, streamThreshold(points, "stream", "g"))
        assertEquals(0.25, streamThreshold(points, "0.25", "g"))
        assertFailsWith<MissingStreamPointError> { streamThreshold(points - "stream", "stream", "g") }
        for (wrong in listOf("strict", "1.5", "-1", "NaN", "", "0x1p-2")) {
            assertFailsWith<UnknownThresholdError>(wrong) { streamThreshold(points, wrong, "g") }
        }
    }
}
