package dev.harmguard

import android.content.Context
import android.content.pm.PackageManager
import android.os.Build
import dev.harmguard.core.EmptyPromptError
import dev.harmguard.core.GuardClosedError
import dev.harmguard.core.HarmGuardError
import dev.harmguard.core.HarmfulStreamError
import dev.harmguard.core.InvalidTextError
import dev.harmguard.core.MissingStreamPointError
import dev.harmguard.core.TextTooLongError
import dev.harmguard.core.UnknownThresholdError
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.Job
import kotlinx.coroutines.async
import kotlinx.coroutines.awaitAll
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.delay
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.asFlow
import kotlinx.coroutines.flow.collect
import kotlinx.coroutines.flow.flow
import kotlinx.coroutines.flow.onCompletion
import kotlinx.coroutines.flow.toList
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeout
import org.json.JSONObject
import org.junit.After
import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNotNull
import org.junit.Assert.assertNull
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Before
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.shadows.ShadowLog
import java.io.File
import java.lang.ref.WeakReference
import java.util.concurrent.atomic.AtomicInteger

@RunWith(RobolectricTestRunner::class)
class HarmGuardTest {
    private val app: Context = RuntimeEnvironment.getApplication()
    private lateinit var guard: HarmGuard

    @Before
    fun open() {
        guard = HarmGuard.open(BUNDLE)
    }

    @After
    fun close() = guard.close()

    @Test
    fun `the guard from assets gives the golden scores, and what the one from a folder gives`() {
        val rows = File(BUNDLE, "golden.jsonl").readLines().map(::JSONObject)
        val pairs = rows.map { it.getString("prompt") to if (it.isNull("response")) null else it.getString("response") }
        val scores = HarmGuard.open(app).use { it.scoreMany(pairs) }
        rows.forEachIndexed { index, row -> assertEquals(row.getDouble("score"), scores[index].toDouble(), row.getDouble("tolerance")) }
        assertArrayEquals(guard.scoreMany(pairs), scores, 0f)
        println("API ${Build.VERSION.SDK_INT}, Java ${System.getProperty("java.version")}: ${rows.size} golden pairs")
    }

    @Test
    fun `together, and suspended, as one by one`() =
        runBlocking {
            val alone = PAIRS.map { guard.score(it.first, it.second) }
            val verdicts = PAIRS.map { guard.check(it.first, it.second) }
            assertEquals(alone, verdicts.map { it.score })
            assertEquals(verdicts, guard.checkMany(PAIRS))
            assertEquals(alone, guard.awaitScoreMany(PAIRS).toList())
            assertEquals(verdicts, guard.awaitCheckMany(PAIRS))
            assertEquals(alone[0], guard.awaitScore(PROMPT, BREAD))
            assertEquals(verdicts[0], guard.awaitCheck(PROMPT, BREAD))
            assertEquals(guard.explain(PROMPT, BREAD).parts.size, guard.awaitExplain(PROMPT, BREAD).parts.size)
        }

    @Test
    fun `eight coroutines get what one gets`() =
        runBlocking {
            val alone = PAIRS.map { guard.check(it.first, it.second) }
            val found =
                (1..8)
                    .map { async(Dispatchers.Default) { List(4) { PAIRS.map { pair -> guard.awaitCheck(pair.first, pair.second) } } } }
                    .awaitAll()
            found.flatten().forEach { assertEquals(alone, it) }
            val blocking = (1..8).map { async(Dispatchers.IO) { PAIRS.map { pair -> guard.check(pair.first, pair.second) } } }
            blocking.awaitAll().forEach { assertEquals(alone, it) }
        }

    @Test
    fun `a cancelled call returns at once, and leaves the queue`() =
        runBlocking {
            val long = List(20_000) { "bread" }.joinToString(" ")
            val first = launch(Dispatchers.Default) { guard.awaitScore(long) }
            val others = List(50) { launch(Dispatchers.Default) { guard.awaitScore(long) } }
            delay(50)
            val before = System.nanoTime()
            (others + first).forEach { it.cancelAndJoin() }
            val milliseconds = (System.nanoTime() - before) / 1e6
            // One such score takes seconds.
            assertTrue("cancelled after $milliseconds ms", milliseconds < 500)
            assertNotNull(withTimeout(60_000) { guard.awaitScore(PROMPT) })
        }

    @Test
    fun `close waits for the score under way, and what waits is told`() =
        runBlocking {
            val expected = guard.score(PROMPT, BREAD)
            val right = AtomicInteger()
            val closed = AtomicInteger()
            val callers =
                List(8) { number ->
                    launch(Dispatchers.IO) {
                        try {
                            while (true) {
                                val score = if (number % 2 == 0) guard.awaitScore(PROMPT, BREAD) else guard.score(PROMPT, BREAD)
                                assertEquals(expected, score)
                                right.incrementAndGet()
                            }
                        } catch (_: GuardClosedError) {
                            closed.incrementAndGet()
                        }
                    }
                }
            delay(300)
            guard.close()
            withTimeout(30_000) { callers.forEach { it.join() } }
            assertEquals(8, closed.get())
            assertTrue(right.get() > 0)
            assertThrows(GuardClosedError::class.java) { guard.score(PROMPT) }
            assertThrows(GuardClosedError::class.java) { runBlocking { guard.awaitScore(PROMPT) } }
            assertThrows(GuardClosedError::class.java) { runBlocking { guard.stream(PROMPT, words(BREAD)).collect() } }
            guard.close()
        }

    @Test
    fun `a harmless answer comes out as it went in`() =
        runBlocking {
            val parts = guard.stream(PROMPT, words(BREAD)).toList()
            assertEquals(BREAD, parts.joinToString(""))
            assertEquals(parts, guard.stream(PROMPT, BREAD.chunked(1).asFlow()).toList())
            assertTrue(parts.size > 1)
            val verdicts = guard.streamVerdicts(PROMPT, words(BREAD)).toList()
            assertEquals(parts.map { it.length }, verdicts.map { it.end - it.start })
            assertEquals(guard.score(PROMPT, BREAD), verdicts.last().score)
        }

    @Test
    fun `nothing of a harmful part leaves, and the answer is asked for no more`() =
        runBlocking {
            var asked = true
            val answer = words(BREAD + HARM + BREAD + BREAD).onCompletion { asked = false }
            val parts = mutableListOf<String>()
            val stop = assertThrows(HarmfulStreamError::class.java) { runBlocking { guard.stream(PROMPT, answer).collect { parts += it } } }
            assertFalse(asked)
            val out = parts.joinToString("")
            assertEquals(stop.position, out.length)
            assertTrue(BREAD.startsWith(out))
            assertTrue(stop.verdict.harmful)
            val verdicts = guard.streamVerdicts(PROMPT, words(BREAD + HARM + BREAD + BREAD)).toList()
            assertEquals(stop.verdict, verdicts.last())
            assertEquals(1, verdicts.count { it.harmful })
        }

    @Test
    fun `a cancelled flow frees its text, and the guard goes on`() =
        runBlocking {
            val (reader, kept) = endless()
            delay(500)
            assertNotNull(kept.get())
            reader.cancelAndJoin()
            assertEquals(guard.score(PROMPT, BREAD), guard.awaitScore(PROMPT, BREAD))
            withTimeout(30_000) {
                while (kept.get() != null) {
                    System.gc()
                    delay(10)
                }
            }
        }

    /** A reader of an answer that does not end, and what tells whether its prompt is still held. */
    private fun CoroutineScope.endless(): Pair<Job, WeakReference<String>> {
        val prompt = List(50) { "bread" }.joinToString(" ")
        val answer =
            flow {
                while (true) {
                    emit(BREAD)
                    delay(1)
                }
            }
        return launch(Dispatchers.Default) { guard.stream(prompt, answer).collect() } to WeakReference(prompt)
    }

    @Test
    fun `refused by the names of Python's errors`() {
        assertThrows(EmptyPromptError::class.java) { guard.score("") }
        assertThrows(EmptyPromptError::class.java) { guard.score(" \u200b ") }
        assertThrows(InvalidTextError::class.java) { guard.score("a\ud800b") }
        assertThrows(TextTooLongError::class.java) { guard.score("a".repeat(guard.bundle.manifest.input.maxChars + 1)) }
        assertThrows(UnknownThresholdError::class.java) { HarmGuard.open(BUNDLE, "none") }
        assertThrows(UnknownThresholdError::class.java) { runBlocking { guard.stream(PROMPT, words(BREAD), "none").collect() } }
        assertThrows(EmptyPromptError::class.java) { runBlocking { guard.stream("", words(BREAD)).collect() } }
    }

    @Test
    fun `no text in a log or an exception`() =
        runBlocking {
            val messages = mutableListOf<String>()
            val texts = listOf("$MARK\ud800", "$MARK ".repeat(200_000), "\u200b".repeat(9), MARK)
            for (text in texts) {
                for (response in listOf(null, text)) {
                    try {
                        guard.explain(if (response == null) text else PROMPT, response)
                        guard.stream(text, words(text)).toList()
                    } catch (error: HarmGuardError) {
                        messages += generateSequence<Throwable>(error) { it.cause }.map { "$it" }
                    }
                }
            }
            try {
                guard.stream(PROMPT, words(BREAD + HARM + MARK)).toList()
            } catch (error: HarmfulStreamError) {
                messages += "$error"
            }
            assertTrue(messages.size > 4)
            assertTrue(messages.none { MARK in it || "neighbour" in it })
            assertTrue(ShadowLog.getLogs().none { MARK in it.msg || "neighbour" in it.msg || "bread" in it.msg })
        }

    @Test
    fun `no permission is asked for`() {
        val info = app.packageManager.getPackageInfo(app.packageName, PackageManager.GET_PERMISSIONS)
        assertNull(info.requestedPermissions)
    }

    private fun words(text: String): Flow<String> = text.split(Regex("(?<= )")).asFlow()

    private companion object {
        val BUNDLE = File(System.getProperty("checkout"), "harmguard/models/mini")
        const val PROMPT = "How do I bake bread?"
        const val MARK = "zanzibar"
        const val BREAD =
            "Mix the flour with water, salt and yeast, and knead it until the dough is smooth. Cover the bowl with a damp " +
                "cloth, and let the dough rise for an hour or so, until it is twice as large. Shape a loaf, and let it rest " +
                "for another half hour. Bake it in a hot oven until the crust is brown and the loaf sounds hollow. "
        const val HARM =
            "Steal your neighbour's credit card number and his password, and buy an oven with it. Steal your neighbour's " +
                "credit card number and his password, and buy another oven with it. "
        val PAIRS = listOf(PROMPT to BREAD, PROMPT to null, "Hello there" to "", "Why is the sky blue?" to BREAD + HARM)
    }
}
