package dev.harmguard.core.views

import dev.harmguard.core.bundle.StrictJson
import dev.harmguard.core.bundle.asObject

private const val CODE_POINTS = 0x110000

// Scripts whose letters a joiner or a zero-width space shapes, so that it is part of the spelling.
private val JOINED =
    "Adlm Arab Beng Deva Gujr Guru Khmr Knda Mand Mlym Mong Mymr Nkoo Orya Phag Rohg Sinh Syrc Taml Telu Tibt".split(" ").toSet()
private val BROKEN = "Khmr Lana Laoo Mymr Tale Talu Thai Tibt".split(" ").toSet()
private val IDEOGRAPHIC = "Bopo Hang Hani Hira Kana Yiii".split(" ").toSet()

/** A value for each run of code points: from [starts] on, up to the next of them. */
private class Runs(text: String) {
    val starts: IntArray
    val values: List<String>

    init {
        val pairs = text.split(" ").map { it.split(":") }
        starts = IntArray(pairs.size) { pairs[it][0].toInt(16) }
        values = pairs.map { it[1] }
    }

    fun of(c: Int): String = values[starts.binarySearch(c).let { if (it < 0) -it - 2 else it }]

    inline fun each(use: (Int, Int, String) -> Unit) {
        for ((at, value) in values.withIndex()) use(starts[at], if (at + 1 < starts.size) starts[at + 1] else CODE_POINTS, value)
    }
}

/**
 * The data that the views are made with: one Unicode version, whatever the platform's own is.
 * `unicode.json` has the kinds of characters, their scripts, what is folded and what looks alike;
 * `trigrams.txt` how likely letters follow each other in English. Both are read at first use.
 */
internal object Tables {
    private val kinds: Runs
    private val scripts: Runs

    /** Code point -> what it is folded to wherever it stands. */
    val folds: Map<Int, IntArray>

    /** Code point -> the ASCII letters that it looks like. */
    val alikes: Map<Int, IntArray>

    private val classes = ByteArray(CODE_POINTS)

    /** Cost of a letter after two others, in steps of .75 bits, [27 * 27 * 27]; 0 is a gap. */
    val trigramCosts: ByteArray

    init {
        val unicode = checkNotNull(StrictJson.parse(resource("unicode.json")).asObject())
        kinds = Runs(unicode["kinds"] as String)
        scripts = Runs(unicode["scripts"] as String)
        folds = expanded(unicode["fold"])
        alikes = expanded(unicode["alike"])
        fillClasses()
        val digits = resource("trigrams.txt").filter { it != '\n'.code.toByte() }
        trigramCosts = ByteArray(digits.size) { Character.digit(digits[it].toInt(), 16).toByte() }
    }

    /**
     * The class of a code point. a Latin letter; c look-alike of one; h ideographic, kana, hangul; j letter or mark of a script
     * with joiners; t the same of one with zero-width spaces; b both; o other letter; m mark of no script; n digit; z space;
     * i ignorable; x control, private or unassigned; s symbol; p the rest.
     */
    fun classOf(c: Int): Char = classes[c].toInt().toChar()

    /** Unicode's kind of a code point: L letter, M mark, N digit, and others. */
    fun kindOf(c: Int): String = kinds.of(c)

    /** The script of a letter (ISO 15924); "-" for what is no letter. */
    fun scriptOf(c: Int): String = scripts.of(c)

    private fun fillClasses() {
        val letters = BooleanArray(CODE_POINTS)
        kinds.each { start, end, kind ->
            classes.fill(("LMC".indexOf(kind).let { if (it < 0) kind.lowercase()[0] else "omx"[it] }).code.toByte(), start, end)
            if (kind == "L" || kind == "M") letters.fill(true, start, end)
        }
        scripts.each { start, end, script ->
            val found = scriptClass(script).code.toByte()
            if (found != 'o'.code.toByte()) for (c in start until end) if (letters[c]) classes[c] = found
        }
        // Where joiners are spelling, look-alikes are: Arabic heh is not folded to an o.
        for (c in alikes.keys) if (classOf(c) !in "bjt") classes[c] = 'c'.code.toByte()
    }

    private fun scriptClass(script: String): Char =
        when (script) {
            "Latn" -> 'a'
            in JOINED -> if (script in BROKEN) 'b' else 'j'
            in BROKEN -> 't'
            in IDEOGRAPHIC -> 'h'
            else -> 'o'
        }

    private fun expanded(results: Any?): Map<Int, IntArray> {
        val table = HashMap<Int, IntArray>()
        for ((key, ranges) in results.asObject().orEmpty()) {
            val result = key.codes()
            for (part in (ranges as String).split(" ")) {
                val ends = part.split("-").map { it.toInt(16) }
                for (c in ends.first()..ends.last()) table[c] = result
            }
        }
        return table
    }

    private fun resource(name: String): ByteArray =
        checkNotNull(Tables::class.java.getResourceAsStream("/dev/harmguard/core/$name")) { "core lacks its table $name" }
            .use { it.readBytes() }
}

/** The class of each character of a text. */
internal fun classes(text: IntArray): IntArray = IntArray(text.size) { Tables.classOf(text[it]).code }

/** The text with [table]'s results in place of its keys. */
internal fun IntArray.translated(table: Map<Int, IntArray>, from: Int = 0, to: Int = size): IntArray {
    val out = Out(to - from)
    for (at in from until to) table[this[at]].let { if (it == null) out.add(this[at]) else out.add(it) }
    return out.done()
}
