package dev.harmguard.core.tokenizers

import dev.harmguard.core.bundle.TokenizerFile
import dev.harmguard.core.bundle.refuse
import dev.harmguard.core.views.codes

/** The ids of a text, each with where it stands in the original: [start] to [end]. */
internal class Encoding {
    var size = 0
        private set
    private var values = IntArray(3 * 64)

    fun add(id: Int, start: Int, end: Int) {
        if (3 * size == values.size) values = values.copyOf(2 * values.size)
        values[3 * size] = id
        values[3 * size + 1] = start
        values[3 * size++ + 2] = end
    }

    fun id(at: Int): Int = values[3 * at]

    fun start(at: Int): Int = values[3 * at + 1]

    fun end(at: Int): Int = values[3 * at + 2]

    val ids: IntArray get() = IntArray(size, ::id)
}

/** What makes ids of words. */
internal interface WordModel {
    fun encode(word: Span, out: Encoding)
}

/** The model that a tokenizer.json, which has been checked, describes. Raises TokenizerError for one that core lacks. */
internal fun wordModel(file: TokenizerFile): WordModel = when (val kind = file.model["type"]) {
    "WordPiece" -> WordPiece(file)
    "Unigram" -> Unigram(file)
    else -> lacking("model", kind)
}

/** Pieces by their characters: nodes are numbers, their children one hash table. */
internal class Trie(pieces: List<String>, ids: IntArray) {
    private var keys = LongArray(1 shl 12)
    private var children = IntArray(1 shl 12)
    private var found = IntArray(1 shl 12)
    private var nodes = 1

    init {
        found.fill(NONE)
        pieces.forEachIndexed { at, piece ->
            var node = ROOT
            var place = 0
            while (place < piece.length) {
                val c = piece.codePointAt(place)
                place += Character.charCount(c)
                node = child(node, c)
            }
            found[node] = ids[at]
        }
    }

    /** The node after [node] by the character [c]; NONE if no piece goes on so. */
    fun next(node: Int, c: Int): Int {
        val slot = slot(node.toLong() shl 21 or c.toLong())
        return if (children[slot] == 0) NONE else children[slot]
    }

    /** The id of the piece that ends at a node, or NONE. */
    fun id(node: Int): Int = if (node == NONE) NONE else found[node]

    /** The node after several characters. */
    fun walk(points: IntArray, from: Int = 0, to: Int = points.size): Int {
        var node = ROOT
        for (at in from until to) {
            node = next(node, points[at])
            if (node == NONE) return NONE
        }
        return node
    }

    private fun child(node: Int, c: Int): Int {
        val key = node.toLong() shl 21 or c.toLong()
        val slot = slot(key)
        if (children[slot] != 0) return children[slot]
        keys[slot] = key
        children[slot] = nodes
        if (nodes == found.size) {
            found = found.copyOf(2 * nodes)
            found.fill(NONE, nodes)
        }
        if (2 * ++nodes > keys.size) grow()
        return nodes - 1
    }

    private fun slot(key: Long): Int {
        var slot = (key * HASH ushr 32).toInt() and keys.size - 1
        while (children[slot] != 0 && keys[slot] != key) slot = slot + 1 and keys.size - 1
        return slot
    }

    private fun grow() {
        val (oldKeys, oldChildren) = keys to children
        keys = LongArray(2 * oldKeys.size)
        children = IntArray(keys.size)
        for (at in oldKeys.indices) {
            if (oldChildren[at] == 0) continue
            val slot = slot(oldKeys[at])
            keys[slot] = oldKeys[at]
            children[slot] = oldChildren[at]
        }
    }

    companion object {
        const val ROOT = 0
        const val NONE = -1
        private const val HASH = -0x61c8864680b583ebL
    }
}

/** The longest known beginning of a word, then of what is left of it; one unknown token where there is none. */
internal class WordPiece(file: TokenizerFile) : WordModel {
    private val trie = Trie(file.pieces, file.ids)
    private val inner = trie.walk((file.model["continuing_subword_prefix"] as String? ?: "##").codes())

    /** The most characters of a word that is not unknown for its length alone. */
    val longest = (file.model["max_input_chars_per_word"] as Long? ?: 100).toInt()
    val unknown: Int = (file.model["unk_token"] as String? ?: "[UNK]").let {
        file.id(it) ?: refuse("has no unknown token in the vocabulary", "it", "made by hand")
    }

    override fun encode(word: Span, out: Encoding) {
        val text = word.text
        val ends = if (word.to - word.from <= longest) cuts(text.points, word.from, word.to) else null
        if (ends == null) {
            out.add(unknown, text.starts[word.from], text.ends[word.to - 1])
            return
        }
        var start = word.from
        for (at in ends.indices step 2) {
            out.add(ends[at + 1], text.starts[start], text.ends[ends[at] - 1])
            start = ends[at]
        }
    }

    /** Where each piece ends, and its id; null if the word is unknown. */
    private fun cuts(points: IntArray, from: Int, to: Int): IntArray? {
        var found = IntArray(8)
        var count = 0
        var start = from
        while (start < to) {
            var node = if (start == from) Trie.ROOT else inner
            var end = start
            var id = Trie.NONE
            var at = start
            while (at < to && node != Trie.NONE) {
                node = trie.next(node, points[at++])
                if (trie.id(node) != Trie.NONE) {
                    end = at
                    id = trie.id(node)
                }
            }
            if (id == Trie.NONE) return null
            if (count == found.size) found = found.copyOf(2 * count)
            found[count++] = end
            found[count++] = id
            start = end
        }
        return found.copyOf(count)
    }
}

/** The pieces of a word whose scores have the highest sum; neighbouring unknown characters are one token. */
internal class Unigram(file: TokenizerFile) : WordModel {
    private val trie = Trie(file.pieces, file.ids)
    private val scores = file.scores ?: refuse("has a Unigram without scores", "pairs of piece and score", "damaged")
    private val unknown = (file.model["unk_id"] as Long).toInt()
    private val unknownScore = (scores.minOrNull() ?: 0.0) - UNKNOWN_PENALTY
    private val bytes: IntArray? = if (file.model["byte_fallback"] == true) {
        IntArray(256) { file.id("<0x" + it.toString(16).uppercase().padStart(2, '0') + ">") ?: Trie.NONE }
    } else {
        null
    }

    override fun encode(word: Span, out: Encoding) {
        val points = word.text.points
        val size = word.to - word.from
        val best = DoubleArray(size + 1)
        val came = IntArray(size + 1) { -1 }
        val piece = IntArray(size + 1) { unknown }
        for (start in 0 until size) {
            var known = false
            var node = Trie.ROOT
            var end = start
            while (end < size) {
                node = trie.next(node, points[word.from + end++])
                if (node == Trie.NONE) break
                val id = trie.id(node)
                if (id == Trie.NONE) continue
                // Of equal ones the first found stays.
                val total = scores[id] + best[start]
                if (came[end] < 0 || total > best[end]) {
                    best[end] = total
                    came[end] = start
                    piece[end] = id
                }
                known = known || end == start + 1
            }
            val total = unknownScore + best[start]
            if (!known && (came[start + 1] < 0 || total > best[start + 1])) {
                best[start + 1] = total
                came[start + 1] = start
                piece[start + 1] = unknown
            }
        }
        path(word, came, piece, out)
    }

    /** From the end of the word back to its start, then written the right way round. */
    private fun path(word: Span, came: IntArray, piece: IntArray, out: Encoding) {
        val starts = IntArray(came.size)
        val ids = IntArray(came.size)
        var count = 0
        var end = came.size - 1
        while (end > 0) {
            val start = came[end]
            if (piece[end] == unknown && count > 0 && ids[count - 1] == unknown) {
                starts[count - 1] = start
            } else {
                starts[count] = start
                ids[count++] = piece[end]
            }
            end = start
        }
        for (at in count - 1 downTo 0) {
            val to = if (at > 0) starts[at - 1] else came.size - 1
            if (ids[at] == unknown) fused(word, starts[at], to, out) else add(word, ids[at], starts[at], to, out)
        }
    }

    private fun fused(word: Span, start: Int, end: Int, out: Encoding) {
        val points = word.text.points
        val known = trie.id(trie.walk(points, word.from + start, word.from + end))
        val spelled = if (known != Trie.NONE || bytes == null) null else String(points, word.from + start, end - start).toByteArray()
        if (bytes != null && spelled != null && spelled.all { bytes[it.toInt() and 0xFF] != Trie.NONE }) {
            for (byte in spelled) add(word, bytes[byte.toInt() and 0xFF], start, end, out)
        } else {
            add(word, if (known == Trie.NONE) unknown else known, start, end, out)
        }
    }

    private fun add(word: Span, id: Int, start: Int, end: Int, out: Encoding) =
        out.add(id, word.text.starts[word.from + start], word.text.ends[word.from + end - 1])

    private companion object {
        /** An unknown character scores this much less than the worst piece. */
        const val UNKNOWN_PENALTY = 10.0
    }
}
