package dev.harmguard.core.views

// The rules are `views-1` of docs/bundle-format.md. They are the same on every platform and need no Unicode tables but
// their own.

/** The views of a text: as it is, cleaned of what hides it, decoded, and what was hidden alone. */
public enum class ViewName {
    TEXT,
    CLEANED,
    DECODED,
    PAYLOAD,
    ;

    /** As Python writes it. */
    override fun toString(): String = lower(name)
}

/** One reading of a text. */
public data class View(val name: ViewName, val text: String)

/** One reading of a prompt and its response (null in a prompt alone). */
public data class PairView(val name: ViewName, val prompt: String, val response: String?)

/** Views of a text. */
private const val MOST = 3

/** Characters that a payload must have to be a view of its own. */
private const val SHORTEST = 16

/** Share of a decoded text above which a payload is no other text. */
private const val MOST_OF_TEXT = 0.95

/** Decodings within decodings that are undone. */
private const val ROUNDS = 2

private val DECODERS: List<(IntArray) -> IntArray> =
    listOf(::unescaped, ::fromCodes, ::fromWords, ::unrepeated, ::unleeted, ::unsplit, ::deciphered, ::parted)

/** One to three views that differ, the text as it is first; in linear time. */
public fun viewsOf(text: String): List<View> {
    val codes = text.codes()
    val cleaned = clean(codes).ifNone(codes)
    val decoded = decode(cleaned)
    val isDecoded = !decoded.contentEquals(cleaned)
    val views = arrayListOf(View(ViewName.TEXT, text))
    if (!cleaned.contentEquals(codes)) views += View(ViewName.CLEANED, cleaned.text())
    if (isDecoded) views += View(ViewName.DECODED, decoded.text())
    if (views.size in 2 until MOST) payload(codes, decoded, isDecoded)?.let { views += View(ViewName.PAYLOAD, it) }
    return views
}

private fun IntArray.ifNone(other: IntArray): IntArray = if (isEmpty()) other else this

/** The text cleaned and decoded: the last of its views that leaves nothing out. */
public fun inPlace(text: String): String {
    val codes = text.codes()
    return decode(clean(codes).ifNone(codes)).ifNone(codes).text()
}

/**
 * One to three views of a prompt, or of an exchange: both sides in the same view. A side without such a view of its own
 * is in its nearest: cleaned for decoded, as it is for cleaned, decoded for payload.
 */
public fun viewsOfPair(prompt: String, response: String?): List<PairView> {
    if (response == null) return viewsOf(prompt).map { PairView(it.name, it.text, null) }
    val sides = listOf(prompt, response).map { side -> viewsOf(side).associate { it.name to it.text } }
    return ViewName.entries.filter { name -> sides.any { name in it } }.take(MOST).map { name ->
        val (one, other) = sides.map { side -> ViewName.entries.last { it <= name && it in side }.let(side::getValue) }
        PairView(name, one, other)
    }
}

/** What was hidden, without the words around it; null if it is short or nearly all. */
private fun payload(text: IntArray, found: IntArray, decoded: Boolean): String? {
    val size = minOf(text.size, found.size)
    val before = (0 until size).firstOrNull { text[it] != found[it] } ?: size
    var after = 0
    while (after < size - before && text[text.size - 1 - after] == found[found.size - 1 - after]) after++
    // Cut between words.
    val start = (minOf(before, found.size - 1) downTo 0).firstOrNull { found[it] == ' '.code }?.plus(1) ?: 0
    val end = (maxOf(found.size - after, start) until found.size).firstOrNull { found[it] == ' '.code }
    val payload = if (start > (end ?: found.size)) "" else found.text(start, end ?: found.size).trim(' ', '\n')
    val length = payload.codePointCount(0, payload.length)
    val whole = found.text().trim(' ', '\n').let { it.codePointCount(0, it.length) }
    if (length < SHORTEST || length > if (decoded) whole * MOST_OF_TEXT else whole - 1.0) return null
    // What was cleaned only, letter by letter, was not hidden behind the words around it.
    val stop = text.size - (if (end == null) 0 else found.size - end)
    return payload.takeIf { decoded || 2 * (start until stop).count { Tables.classOf(text[it]) in "acojtbh" } < length }
}

/** A cleaned text decoded where that makes words of it, cleaned again; the same if nowhere. */
internal fun decode(cleaned: IntArray): IntArray {
    var text = cleaned
    repeat(ROUNDS) {
        val decoded = DECODERS.firstNotNullOfOrNull { decoder -> decoder(text).takeIf { !it.contentEquals(text) } } ?: return text
        text = clean(decoded)
    }
    return text
}
