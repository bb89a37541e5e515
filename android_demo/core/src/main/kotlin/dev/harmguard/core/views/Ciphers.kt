package dev.harmguard.core.views

// Letters put for other letters: shifts, mirrored and reversed alphabets or words, and leet. Of every word it is known
// how much better it reads with each way of undoing (`Reading.kt`). A way is taken for the stretch of words over which
// it gains most, if it gains enough there.

/** Bits that undoing must gain over a stretch of words. */
private const val ENOUGH = 26.0

/** Bits a letter below which what was undone reads like words. */
private const val WORDLIKE = 4.7

/** Bits by which a stretch of words must read worse than words do, to be looked at. */
private const val SUSPECT = 14.0

/** Bits that a text's words must gain by the reading of digits and signs as letters. */
private const val LEET_ENOUGH = 18.0

/** Bits a letter below which a word that was read so is a word. */
private const val LEET_READS = 7.0

/** Bits of a digit or sign within a word. */
private const val DIGIT = 5.0

private const val LOW = "abcdefghijklmnopqrstuvwxyz"
private val WORD = Pattern("[A-Za-z]+")

/** Ways to put letters for letters; 0 is the gap. Those from [REVERSED] on are of reversed words. */
private val ALPHABETS: List<IntArray> =
    (1..25).map { shift -> IntArray(27) { if (it == 0) 0 else (it - 1 + shift) % 26 + 1 } } +
        IntArray(27) { if (it == 0) 0 else 27 - it } +
        IntArray(27) { it } +
        // Upside down, some letters are others.
        IntArray(27) { at -> if (at == 0) 0 else "nudpqb".indexOf(LOW[at - 1]).let { if (it < 0) at else "unpdbq"[it] - 'a' + 1 } }
private const val REVERSED = 26
private const val IDENTITY = 26

/** The text with the stretches undone that read like words after it; the same if none do. */
internal fun deciphered(text: IntArray): IntArray {
    val words = WORD.all(text)
    val plain = words.map { word -> steps(word.start, word.end) { letterCode(text[it]) } * STEP }
    if (excess(words, plain) < SUSPECT) return text
    val gains = ALPHABETS.mapIndexed { way, row ->
        DoubleArray(words.size) { at ->
            val word = words[at]
            val last = word.start + word.end - 1
            plain[at] - steps(word.start, word.end) { row[letterCode(text[if (way < REVERSED) it else last - it])] } * STEP
        }
    }
    val best = gains.indices.maxBy { bestStretch(gains[it]) }
    val gain = gains[best]
    // As Python has it, in single precision: which side of 0 the sum is on may hang on the last digit.
    val worth = FloatArray(words.size) { at ->
        (plain[at] - gain[at]).toFloat() - WORDLIKE.toFloat() * (words[at].end - words[at].start)
    }
    val out = Out(text.size)
    var last = 0
    for ((first, end) in stretches(gain)) {
        if (sum(worth, first, end - first) > 0 || (first until end).sumOf { words[it].end - words[it].start } < 6) continue
        var (start, stop) = words[first].start to words[end - 1].end
        // With the signs that touch it: a reversed full stop stands before its word.
        while (start > 0 && isSign(text[start - 1])) start--
        while (stop < text.size && isSign(text[stop])) stop++
        start = maxOf(start, last)
        out.add(text, last, start).add(undone(text.copyOfRange(start, stop), best))
        last = stop
    }
    return out.add(text, last).done()
}

/** The most by which a stretch of words costs more bits than words do. */
private fun excess(words: List<Found>, bits: List<Double>): Double {
    var total = 0.0
    var most = 0.0
    for ((at, word) in words.withIndex()) {
        total = maxOf(0.0, total + (bits[at] - WORDLIKE * (word.end - word.start)))
        most = maxOf(most, total)
    }
    return most
}

/** The sum in the order in which numpy adds. */
private fun sum(values: FloatArray, from: Int, count: Int): Float {
    if (count > 128) {
        val half = count / 2 - count / 2 % 8
        return sum(values, from, half) + sum(values, from + half, count - half)
    }
    var all = 0f
    var at = from
    if (count >= 8) {
        val r = FloatArray(8)
        while (at < from + count - count % 8) for (lane in 0 until 8) r[lane] += values[at++]
        all = ((r[0] + r[1]) + (r[2] + r[3])) + ((r[4] + r[5]) + (r[6] + r[7]))
    }
    while (at < from + count) all += values[at++]
    return all
}

private fun isSign(c: Int): Boolean = c in 0x21..0x7E && !isDigit(c) && !isLetter(c)

/** The largest sum of neighbouring values. */
private fun bestStretch(gain: DoubleArray): Double {
    var total = 0.0
    var least = 0.0
    var most = Double.NEGATIVE_INFINITY
    for (value in gain) {
        total += value
        most = maxOf(most, total - least)
        least = minOf(least, total)
    }
    return most
}

/** Stretches of words that gain [ENOUGH], each until the gain falls by as much again. */
private fun stretches(gain: DoubleArray): List<Pair<Int, Int>> {
    val found = ArrayList<Pair<Int, Int>>()
    var start = 0
    var total = 0.0
    var peak = 0.0
    var peakEnd = 0
    for ((at, value) in gain.withIndex()) {
        total += value
        if (total > peak) {
            peak = total
            peakEnd = at + 1
        }
        if (total <= 0 || total < peak - ENOUGH) {
            if (peak >= ENOUGH) found += start to peakEnd
            start = at + 1
            total = 0.0
            peak = 0.0
        }
    }
    if (peak >= ENOUGH) found += start to peakEnd
    return found
}

private fun words(text: String): Set<String> = text.split(" ").toSet()

private val FIRST = words(
    "how what why who when where which can could would give write tell explain is are do does i the please create make " +
        "describe list show help provide generate should if in a",
)
private val NEVER_LAST = words(
    "a an the to of in on for with and or how what my your his her their if from by at as is are some that which do can",
)

private fun undone(given: IntArray, way: Int): IntArray {
    val row = ALPHABETS[way]
    val text = if (way == IDENTITY) given else IntArray(given.size) { at -> given[at] + row[letterCode(given[at])] - letterCode(given[at]) }
    if (way < REVERSED) return text
    // Words may each be reversed where they stand, or all of the text: what begins it tells.
    return if (starts(text) > 0) TOKEN.sub(text) { it.group.reversed() } else text.reversedArray()
}

private val TOKEN = Pattern("[^ \n\t]+")

/** Above 0 if reversed words stand in the order of reading, below if that is reversed too. */
private fun starts(text: IntArray): Int {
    val tokens = TOKEN.all(text).map { it.group.reversed() }
    val (first, last) = tokens.first() to tokens.last()
    return clue(bare(first) in FIRST, bare(last) in FIRST) +
        clue(first[0] in 'A'..'Z', last[0] in 'A'..'Z') +
        clue(last.last() in "?!.", first.last() in "?!.") +
        clue(bare(first) in NEVER_LAST, bare(last) in NEVER_LAST)
}

private fun clue(here: Boolean, there: Boolean): Int = (if (here) 1 else 0) - if (there) 1 else 0

private fun bare(word: String): String = lower(word).filter { it in 'a'..'z' }

private const val LEET = "034578@$+9"
private const val LEET_LETTERS = "oeastbastg"
private val LEET_OPTIONS = mapOf('1' to "il", '|' to "li", '!' to "il", '6' to "gb")

/** Digits and signs of two meanings in a word that are tried one by one; of more, all the same. */
private const val MOST_OPTIONS = 3
private val LEET_MANY =
    """\/\/ w |\/| m /\/\ m |-| h |\| n |_| u () o /\ a \/ v |) d |< k >< x |= f |* p |2 r [] o |3 b |> p vv w"""
        .split(" ").chunked(2)
private val LEET_WORD =
    Pattern("(?<![A-Za-z0-9@$!|+])[A-Za-z0-9@$!|+]*[A-Za-z@$|+0-9](?![A-Za-z0-9@$|+])")
private val LEET_SIGN = Pattern("[0134578@$!|+69]")
private val LEET_MIX = Pattern("[A-Za-z][0134578@$!|+69]|[0134578@$!|+69][A-Za-z]")
private val ALONE = mapOf("1" to "I", "4" to "a", "@" to "a", "!" to "I", "|" to "I")

/** Digits and signs read as letters that they look like, in a text where that makes words. */
internal fun unleeted(text: IntArray): IntArray {
    if (!LEET_MIX.isIn(text) && '|'.code !in text) return text
    var replaced = text.text()
    if (LEET_MANY.take(8).sumOf { (shape, _) -> replaced.split(shape).size - 1 } > 2) {
        for ((shape, letter) in LEET_MANY) replaced = replaced.replace(shape, letter)
    }
    val many = replaced.codes()
    val found = LEET_WORD.all(many).filter { LEET_SIGN.isIn(it.group.codes()) }
    val read = found.map { leetRead(it.group) }
    val gain = found.indices.map { at ->
        val word = found[at].group.codes()
        // A digit in a word says as much as a letter that nothing leads to.
        wordBits(word) + DIGIT * word.count { !isLetter(it) } - read[at].second
    }
    val worth = found.indices.map { at ->
        val (word, cost) = read[at]
        gain[at] > 0 && cost < LEET_READS * word.length && word.all { isLetter(it.code) }
    }
    if (found.indices.filter { worth[it] && LEET_MIX.isIn(found[it].group.codes()) }.sumOf { gain[it] } < LEET_ENOUGH) return text
    val out = Out(many.size)
    var last = 0
    for ((at, one) in found.withIndex()) {
        val alone = ALONE[one.group]
        if (alone != null || worth[at]) {
            out.add(many, last, one.start).add(alone ?: read[at].first)
            last = one.end
        }
    }
    return out.add(many, last).done()
}

/** The reading of a word that costs least, and its cost in bits. */
private fun leetRead(word: String): Pair<String, Double> {
    val plain = word.map { c -> LEET.indexOf(c).let { if (it < 0) c else LEET_LETTERS[it] } }
    val places = plain.indices.filter { plain[it] in LEET_OPTIONS }
    val choices = if (places.size <= MOST_OPTIONS) 0 until (1 shl places.size) else listOf(0, -1)
    return choices.map { choice ->
        val letters = plain.toCharArray()
        for ((at, place) in places.withIndex()) {
            // The last place changes first.
            val way = if (places.size > MOST_OPTIONS) choice and 1 else choice shr (places.size - 1 - at) and 1
            letters[place] = LEET_OPTIONS.getValue(plain[place])[way]
        }
        String(letters).let { it to wordBits(it.codes()) }
    }.minBy { it.second }
}
