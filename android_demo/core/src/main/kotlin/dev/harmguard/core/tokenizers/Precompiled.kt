package dev.harmguard.core.tokenizers

import dev.harmguard.core.views.codes
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.util.Base64

/**
 * sentencepiece's table of replacements (a darts-clone trie over UTF-8), applied as the tokenizers library does:
 * a grapheme of less than six bytes is replaced as a whole, by what its shortest known beginning stands for.
 */
internal class Precompiled(charsmap: String) {
    private val units: IntArray
    private val replacements: ByteArray

    init {
        val data = ByteBuffer.wrap(Base64.getDecoder().decode(charsmap)).order(ByteOrder.LITTLE_ENDIAN)
        units = IntArray(data.getInt() / 4) { data.getInt() }
        replacements = ByteArray(data.remaining()).also(data::get)
    }

    fun normalize(text: Normalized): Normalized {
        val points = text.points
        val out = Writer(text)
        var start = 0
        while (start < points.size) {
            val end = graphemeEnd(points, start)
            out.at = start
            val whole = if (bytes(points, start, end) < WHOLE_BYTES) replacement(points, start, end) else null
            if (whole != null) {
                out.put(whole)
            } else {
                for (at in start until end) {
                    out.at = at
                    val found = replacement(points, at, at + 1)
                    if (found == null) out.put(points[at]) else out.put(found)
                }
            }
            start = end
        }
        return out.done()
    }

    private fun bytes(points: IntArray, from: Int, to: Int): Int {
        var count = 0
        for (at in from until to) {
            count += width(points[at])
            if (count >= WHOLE_BYTES) break
        }
        return count
    }

    private fun replacement(points: IntArray, from: Int, to: Int): IntArray? {
        var node = offset(units[0])
        for (at in from until to) {
            val c = points[at]
            for (place in width(c) - 1 downTo 0) {
                val byte = byteOf(c, place)
                if (byte == 0) return null
                node = node xor byte
                val unit = units[node]
                if (unit and LABEL != byte) return null
                node = node xor offset(unit)
                if (unit and HAS_LEAF != 0) return text(units[node] and Int.MAX_VALUE)
            }
        }
        return null
    }

    private fun text(start: Int): IntArray {
        var end = start
        while (end < replacements.size && replacements[end] != 0.toByte()) end++
        return String(replacements, start, end - start, Charsets.UTF_8).codes()
    }

    private companion object {
        const val WHOLE_BYTES = 6
        const val HAS_LEAF = 1 shl 8
        const val LABEL = Int.MIN_VALUE or 0xFF

        fun offset(unit: Int): Int = unit ushr 10 shl (unit and 0x200 ushr 6)

        fun width(c: Int): Int = if (c < 0x80) 1 else if (c < 0x800) 2 else if (c < 0x10000) 3 else 4

        /** A byte of the UTF-8 of a character; the last is at place 0. */
        fun byteOf(c: Int, place: Int): Int {
            if (c < 0x80) return c
            val bits = c ushr (6 * place)
            return if (place < width(c) - 1) bits and 0x3F or 0x80 else bits or (0xF00 ushr width(c) and 0xFF)
        }
    }
}

/** Where the grapheme ends that begins at [from]: by Unicode's rules, but for flags, which are longer than matters here. */
private fun graphemeEnd(points: IntArray, from: Int): Int {
    var at = from + 1
    var picture = CharTables.part(points[from]) == 'X' // pictures and what extends them, so far
    var linked = CharTables.part(points[from]) == 'K' // a consonant and what does not part it from the next
    var linker = false
    while (at < points.size) {
        val before = points[at - 1]
        val c = points[at]
        val last = CharTables.part(before)
        val part = CharTables.part(c)
        val joins = when {
            last == 'C' || part == 'C' -> before == '\r'.code && c == '\n'.code
            part == 'E' || part == 'S' || part == 'L' || last == 'P' -> true
            part == 'X' && picture && before == JOINER -> true
            part == 'K' && linked && linker -> true
            else -> syllable(before, c)
        }
        if (!joins) return at
        picture = part == 'X' || picture && (part == 'E' || part == 'S' || part == 'L')
        linker = part == 'L' || linker && part == 'E'
        linked = part == 'K' || linked && (part == 'L' || part == 'E')
        at++
    }
    return at
}

private const val JOINER = 0x200D

/** Whether two Hangul letters stand in one syllable. */
private fun syllable(one: Int, other: Int): Boolean = when (hangul(other)) {
    'L', 'S' -> hangul(one) == 'L'
    'V' -> hangul(one) == 'L' || hangul(one) == 'V' || hangul(one) == 'S' && (one - 0xAC00) % 28 == 0
    'T' -> hangul(one) == 'V' || hangul(one) == 'S' || hangul(one) == 'T'
    else -> false
}

private fun hangul(c: Int): Char = when (c) {
    in 0x1100..0x115F, in 0xA960..0xA97C -> 'L'
    in 0x1160..0x11A7, in 0xD7B0..0xD7C6 -> 'V'
    in 0x11A8..0x11FF, in 0xD7CB..0xD7FB -> 'T'
    in 0xAC00..0xD7A3 -> 'S'
    else -> '-'
}
