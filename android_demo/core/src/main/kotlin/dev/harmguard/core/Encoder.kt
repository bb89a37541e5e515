package dev.harmguard.core

import dev.harmguard.core.tokenizers.Tokenizer
import dev.harmguard.core.tokenizers.WordPiece
import dev.harmguard.core.views.ViewName
import dev.harmguard.core.views.codes
import dev.harmguard.core.views.text
import dev.harmguard.core.views.viewsOfPair
import java.nio.IntBuffer

/** The least tokens of text that a window must have room for: overlapping needs a few. */
private const val MIN_ROOM = 4

// A hieroglyph and private characters: what a model makes of them is its unknown token.
private val NOWHERE = intArrayOf(0x131A5, 0x10FFFD, 0xE000)

/** One part of a template: a special token ([token], [id]) or a text ([text], "prompt" or "response"). */
public data class Piece(
    val type: Int,
    val token: String? = null,
    val id: Int? = null,
    val text: String? = null,
)

/** What stands around the texts, for a prompt alone and for an exchange. */
public data class Template(
    val prompt: List<Piece>,
    val exchange: List<Piece>,
) {
    internal val pieces: Set<Piece> get() = prompt.toSet() + exchange
}

/** One model input: ids and token types, specials included. Equal to another of the same content. */
public class Window(
    public val ids: IntArray,
    public val types: IntArray,
) {
    override fun equals(other: Any?): Boolean =
        other is Window && ids.contentEquals(other.ids) && types.contentEquals(other.types)

    override fun hashCode(): Int = 31 * ids.contentHashCode() + types.contentHashCode()
}

/** All windows of one pair in all its views, those of the texts as they are first. */
internal class Encoded(
    val windows: List<Window>,
    /** Tokens of the texts as they are, without special ones. */
    val tokens: Int,
    /** Those of the prompt in the view that has most; 0 if nothing of it is seen in any. */
    val promptTokens: Int,
    /** Of which view each window is; empty if all are of the texts as they are. */
    private val views: List<ViewName> = emptyList(),
) {
    /** How many windows are of the texts as they are. */
    val plain: Int get() = if (views.isEmpty()) windows.size else views.count { it == ViewName.TEXT }

    /** Of which view a window is. */
    fun view(window: Int): ViewName = views.getOrElse(window) { ViewName.TEXT }
}

/**
 * Encodes pairs into windows of at most [maxTokens], as `harmguard/core/encode.py` does: a longer prompt alone is cut
 * into windows that overlap by a quarter; in an exchange a side that fills at most half of the room is whole in every
 * window while the other slides, and when both are longer each keeps half.
 */
internal class PairEncoder(
    val tokenizer: Tokenizer,
    private val template: Template,
    maxTokens: Int,
    normalisation: String = "none",
) {
    private val hasViews = normalisation != "none"
    private val promptRoom = maxTokens - template.prompt.count { it.text == null }
    private val exchangeRoom = maxTokens - template.exchange.count { it.text == null }

    // Only WordPiece drops a whole word for its length or for one character in it.
    private val unknown = (tokenizer.model as? WordPiece)?.unknown ?: -1

    // A third, for normalisation makes up to three characters of one.
    private val wordLimit = maxOf(1, ((tokenizer.model as? WordPiece)?.longest ?: 0) / 3)
    private val reserved: Map<Int, IntArray>

    init {
        if (minOf(promptRoom, exchangeRoom) < MIN_ROOM) {
            throw ManifestError(
                "max_tokens is $maxTokens, which leaves less than $MIN_ROOM tokens for the texts beside the special " +
                    "tokens; likely a wrong max_tokens",
            )
        }
        reserved = spellReserved()
    }

    /** Ids that only a template may place -> the ids of the token's letters as text. */
    private fun spellReserved(): Map<Int, IntArray> {
        val names = HashMap<Int, String>()
        for (token in tokenizer.added) if (token.special) names[token.id] = token.content
        for (piece in template.pieces) if (piece.id != null) names[piece.id] = piece.token ?: ""
        // What stands for unknown text is no token that only a template may place.
        names.remove(unknown)
        for (letter in NOWHERE) names.keys.removeAll(tokenizer.ids(intArrayOf(letter)).toSet())
        return names.mapValues { (_, name) ->
            name.codes().flatMap { tokenizer.ids(intArrayOf(it)).asList() }.filter { it !in names }.toIntArray()
        }
    }

    /**
     * Token ids of one text, without special tokens, in time linear in its length. Where WordPiece would make one
     * unknown token of a word, the parts that it knows are kept: text is not hidden by a symbol inside each word.
     */
    fun ids(text: String): IntArray {
        val points = text.codes()
        val encoding = tokenizer.encode(points)
        val found = Ints(encoding.size)
        for (at in 0 until encoding.size) {
            val id = encoding.id(at)
            val lost = id == unknown && encoding.end(at) - encoding.start(at) > 1
            if (lost) spell(points, encoding.start(at), encoding.end(at), found) else found.add(id)
        }
        val ids = found.done()
        if (ids.none { it in reserved }) return ids
        return ids.flatMap { id -> (reserved[id] ?: intArrayOf(id)).asList() }.toIntArray()
    }

    /** Adds the ids of a word that is unknown as a whole; a run of unknown characters is one id. */
    private fun spell(text: IntArray, start: Int, end: Int, out: Ints) {
        val first = out.size
        for (from in start until end step wordLimit) {
            val to = minOf(from + wordLimit, end)
            val known = HashMap<Int, Boolean>()
            fun isKnown(at: Int) = known.getOrPut(text[at]) { unknown !in tokenizer.ids(intArrayOf(text[at])) }
            var at = from
            while (at < to) {
                val begin = at
                val isKnown = isKnown(at)
                while (at < to && isKnown(at) == isKnown) at++
                if (!isKnown) {
                    if (out.size == first || out.last() != unknown) out.add(unknown)
                    continue
                }
                val run = tokenizer.ids(text.copyOfRange(begin, at))
                if (unknown !in run) {
                    out.add(run)
                } else {
                    for (letter in begin until at) out.add(tokenizer.ids(intArrayOf(text[letter])))
                }
            }
        }
    }

    /** Windows of a prompt alone ([response] null) or of an exchange, in every view. */
    fun encode(prompt: String, response: String?): Encoded {
        val plain = encodePlain(prompt, response)
        if (!hasViews) return plain
        val views = viewsOfPair(prompt, response)
        if (views.size == 1) return plain
        val seen = plain.windows.mapTo(HashSet()) { IntBuffer.wrap(it.ids) }
        val windows = plain.windows.toMutableList()
        val names = MutableList(windows.size) { ViewName.TEXT }
        var most = plain.promptTokens
        for (view in views.drop(1)) {
            val encoded = encodePlain(view.prompt, view.response)
            most = maxOf(most, encoded.promptTokens)
            for (window in encoded.windows) {
                if (!seen.add(IntBuffer.wrap(window.ids))) continue
                windows.add(window)
                names.add(view.name)
            }
        }
        return Encoded(windows, plain.tokens, most, names)
    }

    private fun encodePlain(prompt: String, response: String?): Encoded {
        val p = ids(prompt)
        if (response == null) {
            return Encoded(slide(p, promptRoom).map { fill(template.prompt, it, NO_IDS) }, p.size, p.size)
        }
        val r = ids(response)
        val windows = pairParts(p, r, exchangeRoom).map { (a, b) -> fill(template.exchange, a, b) }
        return Encoded(windows, p.size + r.size, p.size)
    }
}

private val NO_IDS = IntArray(0)

private fun fill(pieces: List<Piece>, prompt: IntArray, response: IntArray): Window {
    val ids = Ints(prompt.size + response.size + pieces.size)
    val types = Ints(prompt.size + response.size + pieces.size)
    for (piece in pieces) {
        val part = when (piece.text) {
            null -> intArrayOf(piece.id ?: 0)
            "prompt" -> prompt
            else -> response
        }
        ids.add(part)
        repeat(part.size) { types.add(piece.type) }
    }
    return Window(ids.done(), types.done())
}

/** Parts of at most [room] ids that overlap by a quarter; the last one ends at the end. */
private fun slide(ids: IntArray, room: Int): List<IntArray> {
    if (ids.size <= room) return listOf(ids)
    val starts = (0 until ids.size - room step room - room / 4) + (ids.size - room)
    return starts.map { ids.copyOfRange(it, it + room) }
}

private fun pairParts(prompt: IntArray, response: IntArray, room: Int): List<Pair<IntArray, IntArray>> {
    if (prompt.size + response.size <= room) return listOf(prompt to response)
    val half = room / 2
    if (prompt.size <= half) return slide(response, room - prompt.size).map { prompt to it }
    if (response.size <= half) return slide(prompt, room - response.size).map { it to response }
    val prompts = slide(prompt, half)
    val responses = slide(response, half)
    return responses.map { prompts[0] to it } + prompts.drop(1).map { it to responses[0] }
}

/** Ids that are put together. */
private class Ints(capacity: Int) {
    private var found = IntArray(capacity + 8)
    var size = 0
        private set

    fun add(id: Int) {
        if (size == found.size) found = found.copyOf(2 * size)
        found[size++] = id
    }

    fun add(ids: IntArray) = ids.forEach(::add)

    fun last(): Int = found[size - 1]

    fun done(): IntArray = found.copyOf(size)
}
