package dev.harmguard.core

import dev.harmguard.core.views.codes

// Where a text is cut into sentences: by fixed tables, one character after the other. docs/bundle-format.md has the rule
// in words. It looks at most one character ahead, so that a stream is cut in the same places however its text comes in.

/** Marks that end a sentence if a space follows: Latin, Arabic, Urdu, Armenian, Ethiopic. */
private const val SPACED_ENDS = ".!?\u2026\u061F\u06D4\u0589\u1362"

/** Marks that end a sentence whatever follows: ideographic, full-width, Devanagari. */
private const val WIDE_ENDS = "\u3002\uFF01\uFF1F\uFF0E\uFF61\u0964\u0965"

/** What may stand between a mark and the end: quotes, brackets, emphasis. */
private const val CLOSERS = "\"')]}*_\u00BB\u2019\u201D\u203A\u300D\u300F\u3011\uFF09\uFF02\uFF07"

/** Characters that end a line, and with it a sentence. */
private const val LINES = "\n\u000B\u000C\u0085\u2028\u2029"

/** White space within a line. */
private const val SPACES =
    " \t\r\u00A0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200A\u202F\u205F\u3000"

/** The least characters of a sentence, white space not counted: "1." and "Dr." are none. */
internal const val SENTENCE: Int = 12

/** The most characters of a sentence, white space counted: code and Thai have no ends. */
internal const val LONGEST: Int = 240

private enum class Kind { OTHER, LINE, SPACE, SPACED, WIDE, CLOSER }

private fun kindOf(c: Int): Kind =
    when {
        c > 0xFFFF -> Kind.OTHER
        c.toChar() in LINES -> Kind.LINE
        c.toChar() in SPACES -> Kind.SPACE
        c.toChar() in SPACED_ENDS -> Kind.SPACED
        c.toChar() in WIDE_ENDS -> Kind.WIDE
        c.toChar() in CLOSERS -> Kind.CLOSER
        else -> Kind.OTHER
    }

/**
 * Finds the ends of sentences in a text that comes in pieces. [least] characters, white space not counted, are in every
 * sentence but the last, and none has more than [most].
 */
internal class Cutter(private val least: Int = SENTENCE, private val most: Int = LONGEST) {
    private var at = 0
    private var start = 0
    private var solid = 0
    private var mark = Kind.OTHER
    private var gap = 0
    private var solidAtGap = 0

    /**
     * The ends that [text] brings, as offsets in code points from the first of all pieces. An end may lie before [text]:
     * a mark is an end once the next character is seen, and a sentence that grows too long is cut where its last space was.
     */
    fun push(text: IntArray): List<Int> {
        val ends = ArrayList<Int>()
        for (c in text) {
            val kind = kindOf(c)
            if (mark == Kind.WIDE && kind == Kind.OTHER && solid >= least) end(at, 0, ends)
            at++
            when (kind) {
                Kind.OTHER -> {
                    mark = Kind.OTHER
                    solid++
                }
                Kind.LINE, Kind.SPACE -> white(kind, ends)
                else -> {
                    solid++
                    if (kind != Kind.CLOSER && mark != Kind.WIDE) mark = kind
                }
            }
            if (at - start >= most) cut(ends)
        }
        return ends
    }

    private fun white(kind: Kind, ends: MutableList<Int>) {
        val closed = kind == Kind.LINE || mark != Kind.OTHER
        mark = Kind.OTHER
        gap = at
        solidAtGap = solid
        if (closed && solid >= least) end(at, 0, ends)
    }

    /** End the sentence at its last space, if that is in its second half, or here. */
    private fun cut(ends: MutableList<Int>) =
        if (gap - start >= most / 2) end(gap, solid - solidAtGap, ends) else end(at, 0, ends)

    private fun end(place: Int, left: Int, ends: MutableList<Int>) {
        ends += place
        start = place
        solid = left
        if (left == 0) mark = Kind.OTHER
    }
}

/**
 * The sentences of a text as ranges of code points, the last one included; together they are all of it. What is left at
 * the end with nothing but white space belongs to the sentence before it.
 */
public fun sentences(text: String): List<IntRange> = sentences(text.codes(), SENTENCE, LONGEST)

internal fun sentences(text: IntArray, least: Int, most: Int): List<IntRange> {
    val ends = Cutter(least, most).push(text).toMutableList()
    val rest = ends.lastOrNull() ?: 0
    val isBlank = (rest until text.size).all { kindOf(text[it]) == Kind.LINE || kindOf(text[it]) == Kind.SPACE }
    if (ends.isNotEmpty() && isBlank) ends[ends.size - 1] = text.size else if (rest < text.size) ends += text.size
    return ends.mapIndexed { number, end -> (if (number == 0) 0 else ends[number - 1]) until end }
}
