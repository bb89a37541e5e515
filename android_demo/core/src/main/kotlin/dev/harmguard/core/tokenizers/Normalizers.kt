package dev.harmguard.core.tokenizers

import dev.harmguard.core.bundle.asObject
import dev.harmguard.core.bundle.refuse
import dev.harmguard.core.tokenizers.CharTables.has
import dev.harmguard.core.views.codes

/** One step before a text is cut into words. */
internal typealias Normalizer = (Normalized) -> Normalized

private val SPACE = ' '.code

/** The step that a tokenizer.json, which has been checked, describes. Raises TokenizerError for one that core lacks. */
internal fun normalizer(step: Map<String, Any?>?): Normalizer = when (val kind = step?.get("type")) {
    null -> by { it }
    "Sequence" -> {
        val steps = (step["normalizers"] as List<*>).map { normalizer(it.asObject()) }
        by { text -> steps.fold(text) { found, one -> one(found) } }
    }
    "BertNormalizer" -> bertNormalizer(step)
    "Strip" -> by { text -> stripped(text, step["strip_left"] != false, step["strip_right"] != false) }
    "StripAccents" -> by { text -> text.map { c -> if (!has(c, CharTables.MARK)) put(c) } }
    "Lowercase" -> ::lowercase
    "NFD" -> by { text -> decomposed(text, false) }
    "NFKD" -> by { text -> decomposed(text, true) }
    "NFC" -> by { text -> composed(decomposed(text, false)) }
    "NFKC" -> by { text -> composed(decomposed(text, true)) }
    "Nmt" -> by { text ->
        text.map { c -> if (!has(c, CharTables.DROPPED)) put(if (has(c, CharTables.SPACED)) SPACE else c) }
    }
    "Precompiled" -> Precompiled(step["precompiled_charsmap"] as String)::normalize
    "Replace" -> {
        val pattern = (step["pattern"].asObject()?.get("String") as String?)?.codes()
        val content = (step["content"] as String).codes()
        by { text -> replaced(text, pattern, content) }
    }
    "Prepend" -> {
        val before = (step["prepend"] as String? ?: "").codes()
        by { text -> prepended(text, before) }
    }
    else -> lacking("normalizer", kind)
}

private fun by(step: Normalizer): Normalizer = step

/** Refuse a step that Python's library has and this one does not. */
internal fun lacking(part: String, kind: Any?): Nothing = refuse(
    "has $kind in $part",
    "WordPiece or Unigram with the steps that come with them",
    "a kind of model that this port lacks",
)

private fun bertNormalizer(step: Map<String, Any?>): Normalizer {
    val clean = step["clean_text"] != false
    val chinese = step["handle_chinese_chars"] != false
    val lower = step["lowercase"] != false
    val strip = step["strip_accents"] as Boolean? ?: lower
    return { given ->
        var text = given
        if (clean) text = text.map { c -> if (!has(c, CharTables.CLEANED)) put(if (has(c, CharTables.BLANK)) SPACE else c) }
        if (chinese) {
            text = text.map { c ->
                if (has(c, CharTables.CHINESE)) put(intArrayOf(SPACE, c, SPACE)) else put(c)
            }
        }
        if (strip) text = decomposed(text, false).map { c -> if (!has(c, CharTables.NONSPACING)) put(c) }
        if (lower) lowercase(text) else text
    }
}

private fun lowercase(text: Normalized): Normalized = text.map { c ->
    val found = CharTables.lower(c)
    if (found == null) put(c) else put(found)
}

private fun stripped(text: Normalized, left: Boolean, right: Boolean): Normalized {
    var (from, to) = 0 to text.size
    if (left) while (from < to && has(text.points[from], CharTables.SPACE)) from++
    if (right) while (to > from && has(text.points[to - 1], CharTables.SPACE)) to--
    return text.part(from, to)
}

/** Characters taken apart, and marks put in their order. */
private fun decomposed(text: Normalized, compatible: Boolean): Normalized {
    val out = Writer(text)
    for (at in text.points.indices) {
        out.at = at
        val parts = CharTables.decomposed(text.points[at], compatible)
        if (parts == null) out.put(text.points[at]) else out.put(parts)
    }
    out.orderMarks()
    return out.done()
}

/** Canonical composition of a text that is decomposed. */
private fun composed(text: Normalized): Normalized {
    val points = text.points
    val gone = BooleanArray(points.size)
    var (starter, last) = -1 to -1
    for (at in points.indices) {
        val order = CharTables.order(points[at])
        // A mark is blocked from its letter by one of the same or a higher rank between them.
        val whole = if (starter < 0 || last >= order && last != -1) -1 else CharTables.composed(points[starter], points[at])
        if (whole >= 0) {
            points[starter] = whole
            gone[at] = true
        } else if (order == 0) {
            starter = at
            last = -1
        } else {
            last = order
        }
    }
    var at = 0
    return text.map { c -> if (!gone[at++]) put(c) }
}

/** Every [pattern], or every run of spaces where there is none, replaced by [content]. */
private fun replaced(text: Normalized, pattern: IntArray?, content: IntArray): Normalized {
    var next = 0
    return text.map { c ->
        if (at < next) return@map
        val end = if (pattern == null) spacesEnd(text.points, at) else if (begins(text.points, at, pattern)) at + pattern.size else at
        next = end
        if (end == at) put(c) else put(content)
    }
}

private fun spacesEnd(points: IntArray, from: Int): Int {
    var end = from
    while (end < points.size && points[end] == SPACE) end++
    return if (end - from > 1) end else from
}

private fun begins(points: IntArray, from: Int, with: IntArray): Boolean =
    from + with.size <= points.size && with.indices.all { points[from + it] == with[it] }

/** The text with [before] in front of it, unless it is empty. */
internal fun prepended(text: Normalized, before: IntArray): Normalized = text.map { c ->
    if (at == 0) put(before)
    put(c)
}
