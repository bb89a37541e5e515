package dev.harmguard.core.views

/** Code points of a text, as Python counts characters; lone surrogates count as themselves. */
internal fun String.codes(): IntArray {
    val found = IntArray(codePointCount(0, length))
    var at = 0
    for (index in found.indices) {
        found[index] = codePointAt(at)
        at += Character.charCount(found[index])
    }
    return found
}

internal fun IntArray.text(from: Int = 0, to: Int = size): String = String(this, from, to - from)

internal fun IntArray.isAscii(): Boolean = all { it < 128 }

internal fun isLetter(c: Int): Boolean = (c or 32) in 97..122

internal fun isDigit(c: Int): Boolean = c in 48..57

/** The text with ASCII's capitals small, whatever the locale. */
internal fun lower(text: String): String = String(CharArray(text.length) { if (text[it] in 'A'..'Z') text[it] + 32 else text[it] })

/** Code points that are put together. */
internal class Out(size: Int = 64) {
    private var found = IntArray(size + 16)
    private var size = 0

    fun add(c: Int): Out {
        if (size == found.size) found = found.copyOf(2 * size)
        found[size++] = c
        return this
    }

    fun add(text: IntArray, from: Int = 0, to: Int = text.size): Out {
        if (size + to - from > found.size) found = found.copyOf(2 * size + to - from)
        text.copyInto(found, size, from, to)
        size += to - from
        return this
    }

    fun add(text: String): Out = add(text.codes())

    fun done(): IntArray = found.copyOf(size)
}
