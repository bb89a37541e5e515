package dev.harmguard.core.tokenizers

/**
 * What the tokenizers library takes characters for, as `scripts/make_android_tables.py` found it: the
 * device's own tables are of another Unicode version.
 */
internal object CharTables {
    // The bits of a character; the first eleven are the script's FLAGS.
    const val CLEANED = 1
    const val BLANK = 1 shl 1
    const val CHINESE = 1 shl 2
    const val NONSPACING = 1 shl 3
    const val MARK = 1 shl 4
    const val SPACE = 1 shl 5
    const val PUNCTUATION = 1 shl 6
    const val NUMERIC = 1 shl 7
    const val WORD = 1 shl 8
    const val DROPPED = 1 shl 9
    const val SPACED = 1 shl 10
    private const val LOWER = 1 shl 11
    private const val DECOMPOSED = 1 shl 12
    private const val FLAG_BITS = 13
    private const val ORDER_BITS = 8
    private const val BLOCK = 256

    /** The parts that characters have in graphemes, as the script names them. */
    private const val PARTS = "-CESLPKX"

    private val blocks: Array<IntArray>
    private val lower: Map<Int, IntArray>
    private val nfd: Map<Int, IntArray>
    private val nfkd: Map<Int, IntArray>
    private val composed: Map<Long, Int>

    init {
        val lines = checkNotNull(javaClass.getResourceAsStream("/dev/harmguard/core/tokenizers.txt")) { "core lacks its tables" }
            .use { it.reader(Charsets.US_ASCII).readLines() }
        val sections = lines.associate { it.substringBefore(' ') to it.substringAfter(' ') }
        val all = IntArray(0x110000)
        fun runs(name: String, bits: (String) -> Int) {
            val parts = sections.getValue(name).split(' ')
            for ((at, part) in parts.withIndex()) {
                val end = if (at + 1 < parts.size) parts[at + 1].substringBefore(':').toInt(16) else all.size
                val value = bits(part.substringAfter(':'))
                if (value != 0) for (c in part.substringBefore(':').toInt(16) until end) all[c] = all[c] or value
            }
        }
        runs("flags") { it.toInt(16) }
        runs("order") { it.toInt(16) shl FLAG_BITS }
        runs("cluster") { PARTS.indexOf(it) shl (FLAG_BITS + ORDER_BITS) }
        lower = table(sections.getValue("lower"))
        nfd = table(sections.getValue("nfd"))
        nfkd = table(sections.getValue("nfkd"))
        for (c in lower.keys) all[c] = all[c] or LOWER
        for (c in nfd.keys + nfkd.keys) all[c] = all[c] or DECOMPOSED
        val seen = HashMap<List<Int>, IntArray>()
        blocks = Array(all.size / BLOCK) { at ->
            val block = all.copyOfRange(at * BLOCK, (at + 1) * BLOCK)
            seen.getOrPut(block.asList()) { block }
        }
        composed = pairs(sections.getValue("composed").split(' ').map { it.toInt(16) })
    }

    private fun table(text: String): Map<Int, IntArray> {
        val found = HashMap<Int, IntArray>()
        for (part in text.split(' ')) {
            val (key, value) = part.split(':')
            found[key.toInt(16)] = if (value.isEmpty()) IntArray(0) else value.split('+').map { it.toInt(16) }.toIntArray()
        }
        return found
    }

    /** The two characters that each one is composed of: the second may be added to what is composed already. */
    private fun pairs(composites: List<Int>): Map<Long, Int> {
        val whole = composites.associateBy { nfd.getValue(it).asList() }
        return composites.associateBy { c ->
            val parts = nfd.getValue(c).asList()
            val first = if (parts.size == 2) parts[0] else whole.getValue(parts.dropLast(1))
            key(first, parts.last())
        }
    }

    private fun key(first: Int, second: Int): Long = first.toLong() shl 32 or second.toLong()

    private fun bits(c: Int): Int = blocks[c ushr 8][c and 0xFF]

    /** Whether a character has a bit of [flags]. */
    fun has(c: Int, flags: Int): Boolean = bits(c) and flags != 0

    /** The rank of a mark among those that change places; 0 for what stays. */
    fun order(c: Int): Int = bits(c) ushr FLAG_BITS and 0xFF

    /** The part of a character in a grapheme: see `cluster` in the script. */
    fun part(c: Int): Char = PARTS[bits(c) ushr (FLAG_BITS + ORDER_BITS)]

    /** The lower case of a character, or null where it is itself. */
    fun lower(c: Int): IntArray? = if (has(c, LOWER)) lower[c] else null

    /** Its decomposition, the compatible one too if [compatible]; null where it is itself. */
    fun decomposed(c: Int, compatible: Boolean): IntArray? {
        if (c in HANGUL) {
            val at = c - HANGUL.first
            val syllable = intArrayOf(0x1100 + at / 588, 0x1161 + at % 588 / 28, 0x11A7 + at % 28)
            return if (at % 28 == 0) syllable.copyOf(2) else syllable
        }
        if (!has(c, DECOMPOSED)) return null
        return (if (compatible) nfkd[c] else null) ?: nfd[c]
    }

    /** What two characters compose, or -1. */
    fun composed(first: Int, second: Int): Int {
        if (first in 0x1100..0x1112 && second in 0x1161..0x1175) return 0xAC00 + (first - 0x1100) * 588 + (second - 0x1161) * 28
        if (first in HANGUL && (first - 0xAC00) % 28 == 0 && second in 0x11A8..0x11C2) return first + second - 0x11A7
        return composed[key(first, second)] ?: -1
    }

    private val HANGUL get() = 0xAC00..0xD7A3
}
