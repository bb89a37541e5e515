package dev.harmguard.core

import dev.harmguard.core.tokenizers.Tokenizer
import dev.harmguard.core.views.Tables
import dev.harmguard.core.views.codes
import dev.harmguard.core.views.inPlace
import java.util.concurrent.ConcurrentHashMap

// A hieroglyph: what a model makes of it is its unknown token.
private val NOWHERE = intArrayOf(0x131A5)
private const val CACHED = 4096
private const val NO_ACCOUNT = -1

/**
 * Knows which characters a guard can read. [scripts] are those (ISO 15924) of the letters that it was trained on; null
 * if nobody said, and then only the tokenizer decides. [hasViews]: whether it scores the other views of a text too.
 */
internal class Reader(private val tokenizer: Tokenizer, private val scripts: Set<String>?, private val hasViews: Boolean) {
    /** Several ids are the bytes of a character: such a tokenizer has tokens for everything. */
    private val unknown: Int? = tokenizer.ids(NOWHERE).filterNot(tokenizer::isSpaceMark).distinct().singleOrNull()
    private val counted = ConcurrentHashMap<Int, Int>()

    /** The share of characters, in [0, 1], that the guard cannot read; the higher of both texts. */
    fun unreadable(prompt: String, response: String?): Double = maxOf(share(prompt), if (response == null) 0.0 else share(response))

    private fun share(text: String): Double {
        val share = shareOf(text)
        return if (share > 0 && hasViews) minOf(share, shareOf(inPlace(text))) else share
    }

    private fun shareOf(text: String): Double {
        var lost = 0
        var all = 0
        for (c in text.codes()) {
            val kind = kindOf(c)
            if (kind == NO_ACCOUNT) continue
            lost += kind
            all++
        }
        return if (lost == 0) 0.0 else lost.toDouble() / all
    }

    /** 1 for a character that cannot be read, 0 for one that can. */
    private fun kindOf(c: Int): Int {
        counted[c]?.let { return it }
        val found = when {
            Tables.classOf(c) in "zim" -> NO_ACCOUNT
            unknown != null && unknown in tokenizer.ids(intArrayOf(c)) || isForeign(c) -> 1
            else -> 0
        }
        if (counted.size >= CACHED) counted.clear()
        counted[c] = found
        return found
    }

    private fun isForeign(c: Int): Boolean {
        val script = Tables.scriptOf(c)
        return scripts != null && script != "-" && script !in scripts
    }
}
