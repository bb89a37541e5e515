package dev.harmguard.core.bundle

import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.util.Base64

private const val MAX_REPLACEMENT_BYTES = 64
private const val LEAF = 1L shl 31

/**
 * Checks sentencepiece's "precompiled charsmap", in base64: a size in bytes, a double-array trie
 * (darts-clone) of that size, and the replacements, each ended by a zero.
 */
internal fun checkCharsmap(value: Any?) {
    if (value !is String) wrongCharsmap("is no text")
    val data = try {
        if (value.length % 4 != 0) wrongCharsmap("is not base64")
        Base64.getDecoder().decode(value)
    } catch (_: IllegalArgumentException) {
        wrongCharsmap("is not base64")
    }
    val ints = ByteBuffer.wrap(data).order(ByteOrder.LITTLE_ENDIAN)
    val size = if (data.size < 4) 0 else ints.getInt(0).toLong() and 0xFFFFFFFFL
    if (data.size < 8 || size == 0L || size % 4 != 0L || size > data.size - 4) {
        wrongCharsmap("says that its trie has $size bytes, of ${maxOf(0, data.size - 4)}")
    }
    val units = size.toInt() / 4
    val first = 4 + size.toInt()
    checkReplacements(data, first)
    for (at in 0 until units) {
        val unit = ints.getInt(4 + 4 * at).toLong() and 0xFFFFFFFFL
        if (unit and LEAF != 0L) {
            val start = first + (unit and (LEAF - 1))
            if (start >= data.size || (data[start.toInt()].toInt() and 0xC0) == 0x80) {
                wrongCharsmap("leads to replacements that are not there")
            }
        } else {
            // Every node that a text can lead to has all 256 of its places within the trie.
            val offset = (unit shr 10) shl ((unit and 0x200L) shr 6).toInt()
            if ((at.toLong() xor offset) or 0xFFL >= units) wrongCharsmap("has a trie that leads out of itself")
        }
    }
}

private fun checkReplacements(data: ByteArray, first: Int) {
    try {
        StrictJson.utf8(data, first)
    } catch (_: JsonError) {
        wrongCharsmap("has replacements that are not UTF-8")
    }
    var begin = first
    for (at in first..data.size) {
        if (at < data.size && data[at] != 0.toByte()) continue
        if (at - begin > MAX_REPLACEMENT_BYTES) wrongCharsmap("has a replacement of more than $MAX_REPLACEMENT_BYTES bytes")
        begin = at + 1
    }
}

private fun wrongCharsmap(found: String): Nothing = refuse(
    "has a precompiled charsmap that $found",
    "what sentencepiece writes: a size, a trie of that size, replacements",
    "damaged, or made to end the process",
)
