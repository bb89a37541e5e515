package dev.harmguard.core

import dev.harmguard.core.bundle.StrictJson
import dev.harmguard.core.bundle.asObject
import dev.harmguard.core.bundle.checkTokenizer
import dev.harmguard.core.tokenizers.Tokenizer
import java.io.File
import kotlin.test.assertEquals
import kotlin.test.assertTrue
import org.junit.jupiter.api.Assumptions.assumeTrue
import org.junit.jupiter.api.Test

/** Random texts, by tokenizers of several kinds: the folder of `scripts/make_android_strings.py`, by -Dtoken.strings=FOLDER. */
class StringsTest {
    @Test
    fun `random texts have Python's ids`() {
        val folder = System.getProperty("token.strings")?.let(::File)
        assumeTrue(folder != null, "-Dtoken.strings=FOLDER is missing")
        val file = File(folder, "strings.jsonl")
        val templates = checkNotNull(StrictJson.parse(file.useLines { it.first() }.toByteArray()).asObject())
        val encoders = templates.mapValues { (name, template) ->
            val tokenizer = Tokenizer(checkTokenizer(File(folder, "$name.json").readBytes()))
            PairEncoder(tokenizer, Template(pieces(template, "prompt"), pieces(template, "exchange")), 512)
        }
        val wrong = encoders.mapValues { ArrayList<Int>() }
        var count = 0
        file.useLines { lines ->
            for (json in lines.drop(1)) {
                val line = checkNotNull(StrictJson.parse(json.toByteArray()).asObject())
                count++
                for ((name, encoder) in encoders) {
                    val expected = (line[name] as List<*>).map { (it as Long).toInt() }
                    if (encoder.ids(line["text"] as String).asList() != expected) wrong.getValue(name) += count
                }
            }
        }
        println("ids: $count texts by ${encoders.size} tokenizers; other than Python's: ${wrong.mapValues { it.value.size }}")
        assertTrue(count >= 2000)
        assertEquals(emptyMap(), wrong.filterValues { it.isNotEmpty() }.mapValues { it.value.take(20) }, "texts of $file")
    }

    private fun pieces(template: Any?, kind: String): List<Piece> = (template.asObject()?.get(kind) as List<*>).map {
        val piece = checkNotNull(it.asObject())
        Piece((piece["type"] as Long).toInt(), piece["token"] as String?, (piece["id"] as Long?)?.toInt(), piece["text"] as String?)
    }
}
