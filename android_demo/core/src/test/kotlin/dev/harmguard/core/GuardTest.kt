package dev.harmguard.core

import dev.harmguard.core.bundle.Bundle
import java.util.concurrent.Callable
import java.util.concurrent.CountDownLatch
import java.util.concurrent.Executors
import java.util.concurrent.TimeUnit
import java.util.concurrent.atomic.AtomicInteger
import kotlin.test.assertContentEquals
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertFalse
import kotlin.test.assertNotEquals
import kotlin.test.assertTrue
import org.junit.jupiter.api.Test

class GuardTest {
    private val bundle: Bundle get() = Checkout.bundles.getValue("mini")
    private val pairs = Checkout.conformance.filter { "about" in it && "times" !in it }.take(40)
        .map { it["prompt"] as String to it["response"] as String? }

    /** A real model whose runs a test can hold up, fail or count. */
    private class Watched(private val model: Model, private val before: () -> Unit) : Model {
        val calls = AtomicInteger()
        val closed = AtomicInteger()

        override fun logits(batch: Batch): Array<FloatArray> {
            assertEquals(0, closed.get())
            calls.incrementAndGet()
            before()
            return model.logits(batch).also { assertEquals(0, closed.get()) }
        }

        override fun close() {
            closed.incrementAndGet()
            model.close()
        }
    }

    @Test
    fun `many threads get what one gets, and pairs what each gets alone`() {
        Guard(bundle).use { guard ->
            val alone = pairs.map { (prompt, response) -> guard.check(prompt, response) }
            assertEquals(alone, guard.checkMany(pairs))
            assertContentEquals(alone.map { it.score }.toFloatArray(), guard.scoreMany(pairs.reversed()).reversedArray())
            val threads = Executors.newFixedThreadPool(8)
            val each = threads.invokeAll(List(8) { Callable { pairs.map { (prompt, response) -> guard.check(prompt, response) } } })
            threads.shutdown()
            for (found in each) assertEquals(alone, found.get())
        }
    }

    @Test
    fun `closing waits for the score under way, and what comes later is refused`() {
        val started = CountDownLatch(1)
        val go = CountDownLatch(1)
        var holds = false
        lateinit var watched: Watched
        val guard = Guard(bundle, { opened ->
            Watched(OnnxModel.opener.open(opened)) {
                if (holds) {
                    started.countDown()
                    go.await(60, TimeUnit.SECONDS)
                }
            }.also { watched = it }
        })
        val expected = guard.score("How do I bake bread?")
        holds = true
        val threads = Executors.newFixedThreadPool(2)
        val score = threads.submit(Callable { guard.score("How do I bake bread?") })
        started.await(60, TimeUnit.SECONDS)
        val closing = threads.submit { guard.close() }
        assertFailsWith<java.util.concurrent.TimeoutException> { closing.get(200, TimeUnit.MILLISECONDS) }
        go.countDown()
        assertEquals(expected, score.get())
        closing.get(60, TimeUnit.SECONDS)
        threads.shutdown()
        assertFailsWith<GuardClosedError> { guard.score("How do I bake bread?") }
        guard.close()
        assertEquals(1, watched.closed.get())
    }

    @Test
    fun `thresholds are names or numbers, and decide`() {
        Guard(bundle, threshold = "0.0").use { assertTrue(it.check("Hello").harmful) }
        Guard(bundle, threshold = " 1 ").use { assertFalse(it.check("Hello").harmful) }
        for (wrong in listOf("none", "1.5", "-0.1", "NaN", "Infinity", "", "1e999", "0x1p-1")) {
            assertFailsWith<UnknownThresholdError>(wrong) { Guard(bundle, threshold = wrong) }
        }
    }

    @Test
    fun `long texts are cut into windows, or refused`() {
        val long = "The bread rests under a cloth. ".repeat(200)
        Guard(bundle).use { assertTrue(it.check(long).windows > 1) }
        Guard(bundle, longText = LongText.ERROR).use { assertFailsWith<TextTooLongError> { it.score(long) } }
        Guard(bundle, maxChars = 10).use { guard ->
            guard.score("\uD83C\uDF5E".repeat(10))
            val error = assertFailsWith<TextTooLongError> { guard.scoreMany(listOf("a" to null, "b" to "bread".repeat(3))) }
            assertTrue(error.message.orEmpty().startsWith("pair 1: response has 15 characters"))
        }
        assertFailsWith<InputError> { Guard(bundle, maxChars = 0) }
    }

    @Test
    fun `errors hold no text`() {
        val secret = "xyzzy"
        Guard(bundle, { opened ->
            val watched = Watched(OnnxModel.opener.open(opened)) {}
            object : Model by watched {
                override fun logits(batch: Batch): Array<FloatArray> =
                    if (watched.calls.get() > 0) arrayOf(floatArrayOf(Float.NaN, 0f)) else watched.logits(batch)
            }
        }).use { guard ->
            val errors = listOf(
                assertFailsWith<GraphMismatchError> { guard.score(secret) },
                assertFailsWith<InvalidTextError> { guard.score("$secret\uD800") },
                assertFailsWith<TextTooLongError> { guard.score(secret.repeat(100_000)) },
                assertFailsWith<UnknownThresholdError> { Guard(bundle, threshold = secret) },
            )
            for (error in errors) assertFalse(secret in "$error ${error.cause}")
        }
    }

    @Test
    fun `a model of another vocabulary is found when it is opened`() {
        val opener = OnnxModel.opener
        assertFailsWith<GraphMismatchError> { Guard(bundle, { opener.open(Checkout.bundles.getValue("unigram")) }) }
        assertFailsWith<InputError> { OnnxModel.opener(0) }
    }

    @Test
    fun `verdicts are values`() {
        Guard(bundle).use { guard ->
            val verdict = guard.check("Hello")
            assertEquals(verdict, guard.check("Hello"))
            assertEquals(verdict.hashCode(), guard.check("Hello").hashCode())
            assertNotEquals(verdict, guard.check("Hello there"))
            assertNotEquals<Verdict>(verdict, StreamVerdict(verdict, verdict.threshold, 0, 5))
            assertTrue("score=${verdict.score}" in "$verdict")
        }
    }

    @Test
    fun `known windows are not computed again`() {
        val known = HashMap<Window, FloatArray>()
        val computed = ArrayList<Int>()

        fun logits(vararg ids: Int): List<Float> = through(known, ids.map { Window(intArrayOf(it), intArrayOf(0)) }) { windows ->
            windows.map { window -> floatArrayOf(window.ids[0].toFloat(), 0f).also { computed += window.ids[0] } }
        }.map { it[0] }
        assertEquals(listOf(1f, 2f, 1f), logits(1, 2, 1))
        assertEquals(listOf(2f, 3f), logits(2, 3))
        assertEquals(listOf(1f), logits(1))
        assertEquals(listOf(1, 2, 3, 1), computed)
        assertEquals(1, known.size)
    }
}
