package dev.harmguard.core.tokenizers

import dev.harmguard.core.bundle.asObject
import dev.harmguard.core.bundle.refuse
import dev.harmguard.core.tokenizers.CharTables.has

/** A word: a part of a text. */
internal class Span(val text: Normalized, val from: Int, val to: Int)

/** One step that cuts words into words. */
internal typealias PreTokenizer = (List<Span>) -> List<Span>

// What becomes of a character: it goes, or is a word of its own; others are words with their like.
private const val GONE = 0
private const val ALONE = 1
private const val RUN = 2
private const val OTHER_RUN = 3

/** The step that a tokenizer.json, which has been checked, describes. Raises TokenizerError for one that core lacks. */
internal fun preTokenizer(step: Map<String, Any?>?): PreTokenizer = when (val kind = step?.get("type")) {
    null -> by { it }
    "Sequence" -> {
        val steps = (step["pretokenizers"] as List<*>).map { preTokenizer(it.asObject()) }
        by { spans -> steps.fold(spans) { found, one -> one(found) } }
    }
    "BertPreTokenizer" -> cutting { c ->
        if (has(c, CharTables.SPACE)) GONE else if (has(c, CharTables.PUNCTUATION)) ALONE else RUN
    }
    "WhitespaceSplit" -> cutting { c -> if (has(c, CharTables.SPACE)) GONE else RUN }
    "Whitespace" -> cutting { c ->
        if (has(c, CharTables.SPACE)) GONE else if (has(c, CharTables.WORD)) RUN else OTHER_RUN
    }
    "Punctuation" -> {
        val becomes = mapOf("Isolated" to ALONE, "Removed" to GONE, "Contiguous" to OTHER_RUN)[step["behavior"] ?: "Isolated"]
            ?: lacking("pre_tokenizer", "Punctuation of that behaviour")
        cutting { c -> if (has(c, CharTables.PUNCTUATION)) becomes else RUN }
    }
    "Digits" -> {
        val becomes = if (step["individual_digits"] == true) ALONE else OTHER_RUN
        cutting { c -> if (has(c, CharTables.NUMERIC)) becomes else RUN }
    }
    "CharDelimiterSplit" -> {
        val delimiter = (step["delimiter"] as String).codePointAt(0)
        cutting { c -> if (c == delimiter) GONE else RUN }
    }
    "Metaspace" -> metaspace(step)
    else -> lacking("pre_tokenizer", kind)
}

private fun by(step: PreTokenizer): PreTokenizer = step

private inline fun cutting(crossinline kind: (Int) -> Int): PreTokenizer = { spans ->
    val found = ArrayList<Span>()
    for (span in spans) {
        var at = span.from
        while (at < span.to) {
            val start = at
            val first = kind(span.text.points[at++])
            if (first >= RUN) while (at < span.to && kind(span.text.points[at]) == first) at++
            if (first != GONE) found.add(Span(span.text, start, at))
        }
    }
    found
}

/** Spaces written as a visible character, with which each word begins. */
private fun metaspace(step: Map<String, Any?>): PreTokenizer {
    val mark = (step["replacement"] as String).codePointAt(0)
    val scheme = step["prepend_scheme"] ?: if (step["add_prefix_space"] == false) "never" else "always"
    val split = step["split"] != false
    if (scheme !in listOf("always", "first", "never") || step["add_prefix_space"] == false && scheme != "never") {
        refuse("has a Metaspace that contradicts itself", "prepend_scheme always, first or never", "made by hand")
    }
    return { spans ->
        val found = ArrayList<Span>()
        for (span in spans) {
            val whole = span.text.part(span.from, span.to).map { c -> put(if (c == ' '.code) mark else c) }
            val prepends = whole.size > 0 && whole.points[0] != mark && (scheme == "always" || scheme == "first" && whole.starts[0] == 0)
            val text = if (prepends) prepended(whole, intArrayOf(mark)) else whole
            var start = 0
            for (at in 1..text.size) {
                if (at == text.size || split && text.points[at] == mark) {
                    found.add(Span(text, start, at))
                    start = at
                }
            }
        }
        found
    }
}
