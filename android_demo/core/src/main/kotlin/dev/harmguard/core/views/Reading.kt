package dev.harmguard.core.views

// How much a text reads like English words: bits a letter, by trigrams of letters. What a decoder makes of a text is
// taken only if it reads better than the text did. Everything but ASCII letters is a gap; a word's cost is that of its
// letters, each after the two before it, and of the gap that ends it.

/** Bits of one step of the table. */
internal const val STEP = 0.75

/** Bits a letter, the gap after the word included, below which a text reads like words. */
internal const val READABLE = 4.0

/** A letter as 1 to 26, a gap as 0. */
internal fun letterCode(c: Int): Int = if (isLetter(c)) (c or 32) - 96 else 0

/**
 * Steps that the letters from [from] to before [to] cost, with a gap before and after. The letter before a gap is left
 * out, so that a word begins the same after every word.
 */
internal inline fun steps(from: Int, to: Int, code: (Int) -> Int): Int {
    val costs = Tables.trigramCosts
    var two = 0
    var one = 0
    var sum = 0
    for (at in from..to) {
        val last = if (at < to) code(at) else 0
        sum += costs[two + one * 27 + last]
        two = if (last > 0) one * 729 else 0
        one = last
    }
    return sum
}

/** Mean cost of a letter in bits; infinite for a text without letters. */
internal fun bitsALetter(text: IntArray): Double {
    val count = text.count(::isLetter)
    return if (count == 0) Double.POSITIVE_INFINITY else wordBits(text) / count
}

/** Bits of a word's letters; what is between its letters splits it. */
internal fun wordBits(word: IntArray): Double = steps(0, word.size) { letterCode(word[it]) } * STEP

/** Whether a text of at least [least] letters, most of it letters, reads like words. */
internal fun reads(text: IntArray, least: Int = 5): Boolean {
    val letters = text.count(::isLetter)
    val spaces = text.count { it == ' '.code || it == '\n'.code }
    return letters >= least && letters + spaces >= 0.7 * text.size &&
        bitsALetter(text) < READABLE + if (letters >= 12) 2.0 else 1.5
}
