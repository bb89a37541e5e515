package dev.harmguard.core.views

import dev.harmguard.core.Checkout
import dev.harmguard.core.bundle.StrictJson
import dev.harmguard.core.bundle.asObject
import java.io.File
import java.lang.management.ManagementFactory
import java.security.MessageDigest
import kotlin.test.assertEquals
import kotlin.test.assertTrue
import org.junit.jupiter.api.Assumptions.assumeTrue
import org.junit.jupiter.api.Test

class ViewsTest {
    private fun shown(text: String?, times: Int): String? =
        if (text == null || times == 1) {
            text
        } else {
            MessageDigest.getInstance("SHA-256").digest(text.toByteArray()).joinToString("") { "%02x".format(it) }
        }

    @Test
    fun `the vectors have these views`() {
        var viewed = 0
        for (line in Checkout.conformance.filter { "about" in it }) {
            val times = (line["times"] as Long? ?: 1L).toInt()
            val prompt = (line["prompt"] as String).repeat(times)
            val found = viewsOfPair(prompt, (line["response"] as String?)?.repeat(times)).drop(1)
            val shown = found.map { listOf(it.name.toString(), shown(it.prompt, times), shown(it.response, times)) }
            assertEquals(line["views"] ?: emptyList<Any>(), shown, "${line["about"]}")
            viewed += shown.size
        }
        assertTrue(viewed >= 200)
    }

    /** The file of `scripts/make_view_strings.py`, by -Dviews.strings=FILE. */
    @Test
    fun `random and disguised texts have Python's views`() {
        val file = System.getProperty("views.strings")
        assumeTrue(file != null, "-Dviews.strings=FILE is missing")
        var count = 0
        val wrong = ArrayList<Int>()
        File(file).forEachLine { json ->
            val line = checkNotNull(StrictJson.parse(json.toByteArray()).asObject())
            val text = line["text"] as String
            count++
            val views = viewsOf(text).map { listOf(it.name.toString(), it.text) }
            if (views != line["views"] || inPlace(text) != line["in_place"]) wrong += count
        }
        println("views: $count texts, ${wrong.size} other than Python's")
        assertTrue(count >= 2000)
        assertEquals(emptyList(), wrong.take(20), "lines of $file")
    }

    @Test
    fun `cleaning twice is cleaning once`() {
        for (line in Checkout.conformance.filter { "about" in it }) {
            val once = clean((line["prompt"] as String).codes())
            assertTrue(clean(once).contentEquals(once), "${line["about"]}")
        }
    }

    /** Each unit is what one rule or another would go over again and again, were it not linear. */
    @Test
    fun `the time that views take grows with the text and no faster`() {
        val units = listOf(
            "a\u200D", "h-o-w ", "\u202Eab\u202C", "\u202A", "[SEP]", "\u0430\u0336x ", "\uD83C\uDDEB", "x\uFE01", "\u0430 1",
            "11", "'", "a b ", "aB3 ", "#", "%41", "\\u0041", "&#65;", "0x41 ", "aa ", "01000001 ", "65,", "1/", "! ", "|", "|\\/|",
            "4", "<b>", "a<", "a.", "aGVsbG8=", "MFRGG", ".- ", ".-/", "\u2813 ", "echo tango ", "x-", "xray-", "uryyb ", "olleh ",
            "thequick", "a'", "\u0301", "\u3164", "\u2800", "\uFE00", "\u200B", "\uDB40\uDC41", "\uD835\uDD38", "\u4E2D", "_", "=", "=41",
            "\\", "<|a", "a\u00E9",
        )
        val texts = units.map { unit -> listOf(4000, 40_000).map { size -> ("\u0430b " + unit.repeat(size)).take(size) } }
        for ((short, _) in texts) fastest(short) // to warm up
        val times = texts.map { (short, long) -> fastest(short) to fastest(long) }
        val worst = times.indices.maxBy { times[it].first }
        println("views: 4,000 characters of the worst text (${units[worst]}) in %.1f ms".format(times[worst].first))
        // Ten times the text; below a millisecond a clock says little.
        val slow = times.indices.filter { times[it].second > 30 * maxOf(times[it].first, 1.0) }.map { "${units[it]}: ${times[it]}" }
        assertEquals(emptyList(), slow)
    }

    /** Milliseconds of this thread, whatever else the machine does. */
    private fun fastest(text: String): Double =
        (1..5).minOf {
            val clock = ManagementFactory.getThreadMXBean()
            val start = clock.currentThreadCpuTime
            viewsOf(text)
            (clock.currentThreadCpuTime - start) / 1e6
        }
}
