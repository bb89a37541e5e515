package dev.harmguard.core.views

import java.nio.ByteBuffer
import java.nio.charset.CharacterCodingException
import java.nio.charset.Charset

// What a reader cannot see: payloads of tags and selectors, reversed runs, characters of no width. Every function
// returns the text as a reader would have it, in time linear in its length.

/** Overrides within overrides that are followed; deeper ones are dropped as the others are. */
private const val DEEPEST = 8

// The three flags of regions that Unicode recommends: England, Scotland, Wales.
private val FLAG = Pattern(
    "\uD83C\uDFF4\uDB40\uDC67\uDB40\uDC62(?:\uDB40\uDC65\uDB40\uDC6E\uDB40\uDC67|\uDB40\uDC73\uDB40\uDC63\uDB40\uDC74" +
        "|\uDB40\uDC77\uDB40\uDC6C\uDB40\uDC73)\uDB40\uDC7F",
)
private val TAGS = Pattern("[\uDB40\uDC20-\uDB40\uDC7E]+")
private val SELECTORS = Pattern("[\uFE00-\uFE0F\uDB40\uDD00-\uDB40\uDDEF]{4,}")
private val BITS = Pattern("[\u200B-\u200F\u2060-\u2064\uFEFF\u180E\u00AD]{16,}")
private const val LINE = "\n\r\u000B\u000C\u001C\u001D\u001E\u0085\u2029"
private const val OPENING = "\u202A\u202B\u202D\u202E\u2066\u2067\u2068"
private const val CLOSING = "\u202C\u2069"
private val BIDI = Pattern("[$LINE$OPENING$CLOSING]")
private val RIGHT_TO_LEFT = Pattern("[\u0590-\u08FF\uFB1D-\uFDFF\uFE70-\uFEFC]")

/** Payloads made text, overridden runs in reading order, and nothing without a width left. */
internal fun reveal(given: IntArray): IntArray {
    var text = given
    if (!text.isAscii()) {
        text = TAGS.sub(FLAG.sub(text) { "\uD83C\uDFF4" }) { found ->
            padded(found.group.codes().let { tags -> IntArray(tags.size) { tags[it] - 0xE0000 }.text() })
        }
        text = selected(text)
        text = BITS.sub(text) { padded(fromBits(it.group)) }
        if (text.any { it == 0x202D || it == 0x202E }) text = reordered(text)
    }
    return visible(text)
}

/** A payload with gaps around it, unless it is so short that it completes a word. */
private fun padded(text: String): String = if (text.codePointCount(0, text.length) > 2) " $text " else text

/** Decode runs of variation selectors, or, where there is no run, those of the whole text. */
private fun selected(given: IntArray): IntArray {
    var runs = false
    val text = SELECTORS.sub(given) { found ->
        runs = true
        // An undecoded run is left for the rule on characters of no width.
        fromSelectors(found.group.codes().toList()).ifEmpty { null }?.let(::padded)
    }
    val lone = text.filter { it in 0xFE00..0xFE0D || it in 0xE0100..0xE01EF }
    if (runs || lone.size < 4) return text
    val payload = fromSelectors(lone)
    return if (payload.isEmpty()) text else Out().add(text).add(" $payload").done()
}

private fun fromSelectors(selectors: List<Int>): String {
    val values = selectors.map { if (it < 0xFE10) it - 0xFE00 else it - 0xE0100 + 16 }
    val isPairs = values.max() < 16 && values.size % 2 == 0
    val pairs = if (isPairs) values.chunked(2) { (high, low) -> high * 16 + low } else emptyList()
    return listOf(values, values.map { it - 16 }, pairs)
        .filter { it.isNotEmpty() && it.min() >= 0 && it.max() < 256 }
        .firstNotNullOfOrNull { tried -> textOf(tried).ifEmpty { null } }.orEmpty()
}

/** The text that two kinds of characters spell as bits, eight or seven a letter. */
private fun fromBits(run: String): String {
    val kinds = run.toSortedSet()
    if (kinds.size != 2) return ""
    for (zero in kinds) {
        for (bytes in bytesOfBits(run) { it != zero }) textOf(bytes).let { if (it.isNotEmpty()) return it }
    }
    return ""
}

/** Bytes of eight, then of seven bits, where their number is a multiple of that. */
internal fun bytesOfBits(bits: String, isOne: (Char) -> Boolean): List<List<Int>> =
    listOf(8, 7).filter { bits.length % it == 0 }
        .map { width -> bits.chunked(width) { unit -> unit.fold(0) { value, bit -> 2 * value + if (isOne(bit)) 1 else 0 } } }

/** UTF-8 that is mostly ASCII letters and spaces, or nothing. */
private fun textOf(raw: List<Int>): String {
    val text = decoded(raw, Charsets.UTF_8)
    val codes = text.codes()
    val plain = codes.count { isLetter(it) || it == ' '.code }
    return if (plain * 3 >= codes.size * 2 && codes.none(::isControl)) text else ""
}

/** The bytes as text; nothing if they are none. */
internal fun decoded(raw: List<Int>, charset: Charset): String =
    try {
        charset.newDecoder().decode(ByteBuffer.wrap(ByteArray(raw.size) { raw[it].toByte() })).toString()
    } catch (_: CharacterCodingException) {
        ""
    }

/** A text within another: [stays] if it stands as it is when what it is in is reversed. */
private class Piece(val text: IntArray, val stays: Boolean)

private class Run(val mark: Int) {
    val pieces = ArrayList<Piece>()
}

/** Runs that a right-to-left override shows reversed, reversed; Hebrew and Arabic stay. */
private fun reordered(text: IntArray): IntArray {
    val open = arrayListOf(Run(0))
    var deeper = 0

    fun close() {
        val run = open.removeAt(open.size - 1)
        val turned = run.mark == 0x202E && run.pieces.none { RIGHT_TO_LEFT.isIn(it.text) }
        val whole = Out()
        for (piece in if (turned) run.pieces.asReversed() else run.pieces) {
            whole.add(if (turned && !piece.stays) piece.text.reversedArray() else piece.text)
        }
        open.last().pieces += Piece(whole.done(), true)
    }

    fun piece(from: Int, to: Int, stays: Boolean) {
        if (to > from) open.last().pieces += Piece(text.copyOfRange(from, to), stays)
    }

    var last = 0
    for (found in BIDI.all(text)) {
        piece(last, found.start, false)
        last = found.end
        when (val mark = text[found.start].toChar()) {
            in OPENING -> if (open.size > DEEPEST) deeper++ else open += Run(mark.code)
            in CLOSING -> if (deeper > 0) deeper-- else if (open.size > 1) close()
            else -> {
                deeper = 0
                while (open.size > 1) close()
                piece(found.start, found.end, true)
            }
        }
    }
    piece(last, text.size, false)
    while (open.size > 1) close()
    return Out(text.size).also { out -> open[0].pieces.forEach { out.add(it.text) } }.done()
}

private fun isControl(c: Int): Boolean = c < 0x09 || c in 0x0E..0x1F || c == 0x7F

private fun isBlank(c: Int): Boolean = c == 0x115F || c == 0x1160 || c == 0x3164 || c == 0xFFA0 || c == 0x2800

/** Drop what has no width, but where it is part of the spelling; spaces of any kind are one. */
internal fun visible(text: IntArray): IntArray {
    if (text.isAscii()) return if (text.any(::isControl)) text.filterNot(::isControl).toIntArray() else text
    val kinds = classes(text)
    if (kinds.none { isUnseen(it) }) return text
    val letters = kinds.count { it != 'z'.code && it != 'i'.code && it != 'x'.code }
    // A blank letter stands for a space, unless it stands between most letters.
    val blank = if (text.count(::isBlank) * 5 > letters * 2) "" else " "
    val out = Out(text.size)
    var start = 0
    while (start < text.size) {
        var end = start + 1
        if (isUnseen(kinds[start])) {
            while (end < text.size && kinds[end] == kinds[start]) end++
            keep(text, kinds, start, end, blank, out)
        } else {
            out.add(text[start])
        }
        start = end
    }
    return out.done()
}

private fun isUnseen(kind: Int): Boolean = kind == 'i'.code || kind == 'x'.code || kind == 'z'.code

/** Put out what stays of a run of characters that are not seen. */
private fun keep(text: IntArray, kinds: IntArray, start: Int, end: Int, blank: String, out: Out) {
    when (kinds[start].toChar()) {
        'z' -> for (at in start until end) space(text[at], blank, out)
        // Private and unassigned characters stay: they may be letters of a newer Unicode.
        'x' -> for (at in start until end) if (text[at] >= 0x20 && text[at] !in 0x7F..0x9F) out.add(text[at])
        else -> {
            val before = if (start > 0) kinds[start - 1].toChar() else ' '
            val after = if (end < kinds.size) kinds[end].toChar() else ' '
            val symbols = before == 's' && after == 's'
            // Whether a joiner is part of the spelling.
            val shaped = before in "jbm" && after in "jbm"
            val stays = when (text.text(start, end)) {
                "\u200D" -> symbols || shaped
                "\uFE0F\u200D" -> symbols
                "\u200C" -> shaped
                "\u200B" -> before in "tb" && after in "tb"
                "\uFE0F" -> before in "sp" || (end < text.size && text[end] == 0x20E3)
                "\uFE0E" -> before in "sp"
                "\u180B", "\u180C", "\u180D", "\u180E", "\u180F" -> if (before == 'j') true else null
                else -> null
            }
            if (stays == true) out.add(text, start, end)
            if (stays == null && (start until end).any { isBlank(text[it]) }) out.add(blank)
        }
    }
}

/** Line breaks of one kind; other spaces stay what they are, for they may separate letters. */
private fun space(c: Int, blank: String, out: Out) {
    when (c) {
        0x2800 -> out.add(blank)
        0x0D, 0x0B, 0x0C, 0x85, 0x2028, 0x2029 -> out.add('\n'.code)
        else -> out.add(c)
    }
}
