package dev.harmguard.core.tokenizers

import dev.harmguard.core.bundle.TokenizerFile
import dev.harmguard.core.bundle.asObject
import dev.harmguard.core.tokenizers.CharTables.has
import dev.harmguard.core.views.codes
import dev.harmguard.core.views.text

/** A token that is found in a text before it is cut into words. */
internal class AddedToken(val id: Int, val content: String, fields: Map<String, Any?>) {
    val special = fields["special"] == true
    val normalized = fields["normalized"] == true
    val singleWord = fields["single_word"] == true
    val left = fields["lstrip"] == true
    val right = fields["rstrip"] == true
}

/**
 * The tokenizers of the library of that name, WordPiece and Unigram with the steps that come with them, as guards
 * use it: special tokens are never found in a text. It may be used by several threads at once.
 */
internal class Tokenizer(file: TokenizerFile) {
    /** Makes ids of words. */
    val model: WordModel = wordModel(file)

    /** The tokens that are no pieces of the model. */
    val added: List<AddedToken> = file.added
        .associateBy { it["content"] as String }
        .map { (content, fields) -> AddedToken(file.addedIds.getValue(content), content, fields) }
    private val normalize = normalizer(file.fields["normalizer"].asObject())
    private val cut = preTokenizer(file.fields["pre_tokenizer"].asObject())
    private val spaceMark = file.id("\u2581")

    /** The largest id that a text can get, special tokens apart. */
    val largestId: Int = maxOf(file.ids.maxOrNull() ?: 0, added.filter { !it.special }.maxOfOrNull { it.id } ?: 0)
    private val before = Finder(added.filter { !it.normalized }) { it }
    private val after = Finder(added.filter { it.normalized }) {
        normalize(Normalized.of(it, 0, it.size)).points
    }

    /** Whether an id is the mark that stands for a space. */
    fun isSpaceMark(id: Int): Boolean = id == spaceMark

    /** The ids of a text, without special tokens. */
    fun encode(text: String): Encoding = encode(text.codes())

    fun encode(text: IntArray): Encoding {
        val out = Encoding()
        before.parts(text) { from, to, id ->
            if (id != null) {
                out.add(id, from, to)
            } else {
                encode(normalize(Normalized.of(text, from, to)), out)
            }
        }
        return out
    }

    private fun encode(text: Normalized, out: Encoding) = after.parts(text.points) { from, to, id ->
        if (id != null) {
            out.add(id, text.starts[from], text.ends[to - 1])
        } else {
            val whole = if (from == 0 && to == text.size) text else text.part(from, to)
            if (whole.size > 0) for (word in cut(listOf(Span(whole, 0, whole.size)))) model.encode(word, out)
        }
    }

    fun ids(text: IntArray): IntArray = encode(text).ids
}

/** Finds tokens in a text: the leftmost, of these the longest; special ones are passed over. */
private class Finder(tokens: List<AddedToken>, spelled: (IntArray) -> IntArray) {
    private val tokens = tokens.map { spelled(it.content.codes()) to it }.filter { it.first.isNotEmpty() }
    private val trie = Trie(this.tokens.map { it.first.text() }, IntArray(this.tokens.size) { it })
    private val finds = tokens.any { !it.special }

    /** Calls [use] for each part of a text, with the id of a token or with null. */
    inline fun parts(text: IntArray, use: (Int, Int, Int?) -> Unit) {
        var done = 0
        var at = 0
        while (finds && at < text.size) {
            val (stop, number) = match(text, at)
            if (number < 0) {
                at++
                continue
            }
            val token = tokens[number].second
            var (from, to) = at to stop
            at = stop
            if (token.special || token.singleWord && !alone(text, from, to)) continue
            if (token.left) while (from > done && has(text[from - 1], CharTables.SPACE)) from--
            if (token.right) while (to < text.size && has(text[to], CharTables.SPACE)) to++
            if (done < from) use(done, from, null)
            use(from, to, token.id)
            done = to
        }
        if (done < text.size) use(done, text.size, null)
    }

    /** Where the longest token ends that begins [from], and its number, or -1. */
    private fun match(text: IntArray, from: Int): Pair<Int, Int> {
        var (node, end, found) = Triple(Trie.ROOT, from, -1)
        var at = from
        while (at < text.size) {
            node = trie.next(node, text[at++])
            if (node == Trie.NONE) break
            if (trie.id(node) != Trie.NONE) {
                end = at
                found = trie.id(node)
            }
        }
        return end to found
    }

    private fun alone(text: IntArray, from: Int, to: Int): Boolean =
        (from == 0 || !has(text[from - 1], CharTables.WORD)) && (to == text.size || !has(text[to], CharTables.WORD))
}
