package dev.harmguard.core

import dev.harmguard.core.bundle.Bundle
import dev.harmguard.core.tokenizers.Tokenizer
import java.lang.management.ManagementFactory
import kotlin.test.assertTrue
import org.junit.jupiter.api.Test

/** Times on the machine that runs the tests, which is no phone. */
class SpeedTest {
    @Test
    fun `4,000 characters are tokenised in a few milliseconds`() {
        val english = "How do I bake bread at home? Mix flour, water, salt and yeast; let it rest under a cloth. "
        val mixed = "Wie backe ich Br\u00f6tchen? " +
            "\u041a\u0430\u043a \u0438\u0441\u043f\u0435\u0447\u044c \u0445\u043b\u0435\u0431? \u30d1\u30f3\u3092\u713c\u304f\u3002 e\u0301 \ud83c\udf5e "
        for ((name, bundle) in Checkout.bundles) {
            val spec = bundle.manifest.input
            val encoder = PairEncoder(Tokenizer(bundle.tokenizer), spec.template, spec.maxTokens)
            for ((kind, sentence) in listOf("English" to english, "mixed" to mixed)) {
                val text = sentence.repeat(4000 / sentence.codePointCount(0, sentence.length) + 1)
                    .let { it.substring(0, it.offsetByCodePoints(0, 4000)) }
                // The least of many: a busy machine lengthens some of them.
                val times = LongArray(300) {
                    val start = System.nanoTime()
                    encoder.ids(text)
                    System.nanoTime() - start
                }.sorted()
                println("speed: 4,000 characters ($kind) by $name in ${times[0] / 1000} us at best, ${times[150] / 1000} us at half")
                assertTrue(times[0] <= 5_000_000, "$name: ${times[0]} ns")
            }
        }
    }

    @Test
    fun `a guard is opened the fifth time in 150 ms, its session apart`() {
        val taken = List(5) {
            milliseconds {
                val bundle = Bundle.open(Checkout.folders.getValue("mini"))
                val spec = bundle.manifest.input
                val tokenizer = Tokenizer(bundle.tokenizer)
                val encoder = PairEncoder(tokenizer, spec.template, spec.maxTokens, spec.normalisation)
                Reader(tokenizer, bundle.manifest.scripts?.toSet(), hasViews = true).unreadable("Hello", null)
                encoder.encode("Hello", "Hello")
            }
        }
        println("speed: mini opened, first view included, in $taken ms of the processor")
        assertTrue(taken.last() <= 150, "$taken")
    }

    @Test
    fun `the longest texts take time in proportion`() {
        val bundles = Checkout.bundles.mapValues { (_, bundle) ->
            PairEncoder(Tokenizer(bundle.tokenizer), bundle.manifest.input.template, bundle.manifest.input.maxTokens)
        }
        for (part in listOf("x", "\u0301", "a\u0315\u0300", "\u4e00", "##", "\u1100", "[SEP]", "\ud83c\udf5e", " ", "\u200d")) {
            val text = part.repeat(200_000 / part.codePointCount(0, part.length))
            for ((name, encoder) in bundles) {
                val taken = milliseconds { encoder.ids(text) }
                assertTrue(taken <= 3_000, "$name: 200,000 characters, of ${part.codePointAt(0)}, in $taken ms")
            }
        }
    }

    /** The processor's time: a busy machine makes the clock say more. */
    private fun milliseconds(work: () -> Unit): Long {
        val threads = ManagementFactory.getThreadMXBean()
        val start = threads.currentThreadCpuTime
        work()
        return (threads.currentThreadCpuTime - start) / 1_000_000
    }
}
