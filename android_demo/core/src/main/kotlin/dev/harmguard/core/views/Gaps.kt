package dev.harmguard.core.views

// Words without gaps between them, with signs inside, or with each letter several times over: put right where that reads.

/** Bits that a text's words must gain without the signs that stand in them. */
private const val SPLIT_ENOUGH = 24.0

/** Bits that a text's words must gain with one letter for each that stands several times over. */
private const val REPEATED_ENOUGH = 24.0

/** Bits a letter below which what is left reads like words. */
private const val REPEATED_READS = 5.5

/** Bits a letter below which parted words read like words. */
private const val PARTED_READS = 4.6

/** Bits a letter that parting must gain. */
private const val PARTED_GAIN = 0.5

private val SPLIT =
    Pattern("(?<![A-Za-z])[A-Za-z]+(?:(?:<[^<> \t\n]{0,24}>|[^A-Za-z0-9 \t\n'\u2019]){1,3}[A-Za-z]+)+")
private val SOME_SPLIT = Pattern("[a-z][^A-Za-z0-9 \t\n'\u2019,][a-z]")
private val NO_LETTERS = Pattern("<[^<> \t\n]{0,24}>|[^A-Za-z]+")

/** Sixteen letters in a row, at least, may be words without gaps: few English words are longer. */
private val RUN = Pattern("(?<![A-Za-z0-9_./@:-])[A-Za-z']{16,}(?![A-Za-z0-9_/@:-])")

/** Words without the signs inside them, in a text where that makes words of pieces. */
internal fun unsplit(text: IntArray): IntArray {
    if (!SOME_SPLIT.isIn(text)) return text
    val found = SPLIT.all(text)
    val whole = found.map { one -> NO_LETTERS.sub(one.group.codes()) { "" } }
    val gain = found.indices.map { wordBits(NO_LETTERS.sub(found[it].group.codes()) { " " }) - wordBits(whole[it]) }
    if (gain.filter { it > 0 }.sum() < SPLIT_ENOUGH) return text
    val out = Out(text.size)
    var last = 0
    for ((at, one) in found.withIndex()) {
        if (gain[at] > 0) {
            out.add(text, last, one.start).add(whole[at])
            last = one.end
        }
    }
    return out.add(text, last).done()
}

private val WORD = Pattern("(?<![A-Za-z0-9_#])[A-Za-z]+(?![A-Za-z0-9_])")

/** Words in which each letter stands several times over ("bbrreeaadd") with one of each, in a text where that makes words. */
internal fun unrepeated(text: IntArray): IntArray {
    if ((0..text.size - 4).none { isTwice(text, it) && isTwice(text, it + 2) }) return text
    val found = WORD.all(text).map { it to once(it.group.codes()) }
    // A single letter, however often, is no proof; it may stand among words that are.
    val proof = found.filter { (one, word) -> word.size in 2 until one.end - one.start }
    if (proof.isEmpty()) return text
    val costs = proof.sumOf { wordBits(it.second) }
    val gain = proof.sumOf { wordBits(it.first.group.codes()) } - costs
    if (gain < REPEATED_ENOUGH || costs >= REPEATED_READS * proof.sumOf { it.second.size }) return text
    val times = proof.map { (one, word) -> (one.end - one.start) / word.size }.toSet()
    val out = Out(text.size)
    var last = 0
    for ((one, word) in found) {
        if ((one.end - one.start) / word.size !in times) continue
        out.add(text, last, one.start).add(word.text())
        last = one.end
    }
    return out.add(text, last).done()
}

private fun isTwice(text: IntArray, at: Int): Boolean = letterCode(text[at]).let { it > 0 && it == letterCode(text[at + 1]) }

/** Every n-th letter, if all runs of a letter in the word are a multiple of n long. */
private fun once(word: IntArray): IntArray {
    val ends = (1..word.size).filter { it == word.size || letterCode(word[it]) != letterCode(word[it - 1]) }
    val step = (listOf(0) + ends).zipWithNext { from, to -> to - from }.reduce { a, b -> greatestDivisor(a, b) }
    return IntArray(word.size / step) { word[it * step] }
}

private tailrec fun greatestDivisor(a: Int, b: Int): Int = if (b == 0) a else greatestDivisor(b, a % b)

/** Long runs of letters as the words that they most likely are, if they read like words. */
internal fun parted(text: IntArray): IntArray = RUN.sub(text) { part(it.text.copyOfRange(it.start, it.end)) }

/** Capitals inside a run from which they are taken for the gaps. */
private const val FEWEST_HUMPS = 3

private fun isLow(c: Int): Boolean = c in 97..122

private fun isHigh(c: Int): Boolean = c in 65..90

private fun isHump(run: IntArray, at: Int): Boolean =
    isHigh(run[at]) && (isLow(run[at - 1]) || (isHigh(run[at - 1]) && at + 1 < run.size && isLow(run[at + 1])))

/** The cheapest way to put gaps into a run: the best path through two states a letter. Null if it stays as it is. */
private fun part(run: IntArray): String? {
    val places = (1 until run.size).filter { isHump(run, it) }.toSet()
    val humps = Out(2 * run.size)
    for ((at, c) in run.withIndex()) (if (at in places) humps.add(' '.code) else humps).add(c)
    if (places.size >= FEWEST_HUMPS) humps.done().let { if (bitsALetter(it) < PARTED_READS) return it.text() }
    val costs = Tables.trigramCosts
    val letters = IntArray(run.size) { letterCode(run[it]) }
    // `inside`: no gap before the letter; `first`: the letter begins a word.
    var inside = 1 shl 30
    var first = costs[letters[0]].toInt()
    // For each later letter and both cases: did the one before it begin its word?
    val goOnBegins = BooleanArray(run.size)
    val partBegins = BooleanArray(run.size)
    var two = 0
    for (at in 1 until run.size) {
        val last = letters[at - 1] * 27
        val code = letters[at]
        val goOn = inside + costs[two + last + code]
        val goOnFirst = first + costs[last + code]
        val part = inside + costs[two + last]
        val partFirst = first + costs[last]
        goOnBegins[at] = goOnFirst < goOn
        partBegins[at] = partFirst < part
        inside = minOf(goOn, goOnFirst)
        first = minOf(part, partFirst) + costs[code]
        two = letters[at - 1] * 729
    }
    inside += costs[two + letters.last() * 27]
    first += costs[letters.last() * 27]
    val total = minOf(inside, first) * STEP
    if (total >= PARTED_READS * run.size || wordBits(run) - total <= PARTED_GAIN * run.size) return null
    // Follow the best path from the last letter back to the first.
    val out = StringBuilder()
    var begins = first < inside
    for (place in run.size - 1 downTo 1) {
        out.append(run[place].toChar())
        if (begins) out.append(' ')
        begins = if (begins) partBegins[place] else goOnBegins[place]
    }
    return out.append(run[0].toChar()).reverse().toString()
}
