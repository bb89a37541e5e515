package dev.harmguard.core

import dev.harmguard.core.bundle.asObject
import dev.harmguard.core.views.codes
import java.io.File
import java.util.Random
import kotlin.test.assertEquals
import org.junit.jupiter.api.Test

/** The vectors of tests/golden/sentences.jsonl. */
class SentencesTest {
    private val lines = Checkout.jsonLines(File(System.getProperty("checkout"), "tests/golden/sentences.jsonl"))
    private val rules = checkNotNull(lines[0]["rules"].asObject()).mapValues { (_, rule) ->
        checkNotNull(rule.asObject()).let { (it["least"] as Long).toInt() to (it["most"] as Long).toInt() }
    }

    @Test
    fun `texts are cut where Python cuts them, however they come in`() {
        val random = Random(3)
        assertEquals(setOf("explain", "stream", "tight"), rules.keys)
        for (line in lines.drop(1)) {
            val text = (line["text"] as String).codes()
            for ((name, rule) in rules) {
                val expected = (line[name] as List<*>).map { (it as Long).toInt() }
                assertEquals(expected, Cutter(rule.first, rule.second).push(text), "${line["about"]}, $name")
                val cutter = Cutter(rule.first, rule.second)
                val found = ArrayList<Int>()
                var at = 0
                while (at < text.size) {
                    val next = minOf(text.size, at + 1 + random.nextInt(9))
                    found += cutter.push(text.copyOfRange(at, next))
                    at = next
                }
                assertEquals(expected, found, "${line["about"]}, $name, in pieces")
            }
        }
    }

    @Test
    fun `sentences are all of the text`() {
        for (line in lines.drop(1)) {
            val text = line["text"] as String
            val found = sentences(text)
            assertEquals(text.codes().indices.toList(), found.flatten(), "${line["about"]}")
        }
        assertEquals(listOf(0..34), sentences("Only one sentence, with a tail. \n\n\n"))
    }
}
