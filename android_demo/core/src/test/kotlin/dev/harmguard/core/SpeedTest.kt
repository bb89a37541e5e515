package dev.harmguard.core

import dev.harmguard.core.tokenizers.Tokenizer
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
}
