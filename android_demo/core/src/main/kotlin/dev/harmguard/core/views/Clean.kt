package dev.harmguard.core.views

// The cleaned view: a text in the letters that it shows. The order is that of `clean`; docs/bundle-format.md has the
// rules in words.

/** Marks in a row that stay on a letter of a script that has marks of its own. */
private const val MOST_MARKS = 4

/** What one pass lays bare, such as a token between look-alikes, the next one takes out. */
private const val MOST_PASSES = 8

/** Bits a letter below which a text all of look-alikes is taken for English. */
private const val READS_ALIKE = 4.9

private val TOKENS = Pattern(
    """\[/?(?:SEP|CLS|PAD|MASK|UNK|BOS|EOS|INST|unused\d{1,3})\]|</?(?:s|pad|unk|mask|bos|eos|sep|cls|w)>""" +
        """|<\|[a-z_0-9]{1,32}\|>|<</?SYS>>|<(?:start|end)_of_turn>|""" + "\u2581",
    ignoreCase = true,
)
private val PIECE = Pattern("(?<![^ \t\n\u0000])##+(?=[A-Za-z0-9])")

/** Stands for a special token while separators are looked for. */
private const val TOKEN = "\u0000"

/** The text as a reader sees it, in ASCII letters where they are or look like Latin ones. */
internal fun clean(given: IntArray): IntArray {
    var text = reveal(given)
    if (!text.isAscii()) {
        // Marks first: they may stand between indicators.
        text = regional(unmarked(text)).translated(Tables.folds)
        // Everyday Chinese, Japanese and Korean have full-width punctuation of their own.
        if (!text.isAscii() && text.none { Tables.classOf(it) == 'h' }) {
            text = IntArray(text.size) { if (text[it] in 0xFF01..0xFF5E) text[it] - 0xFEE0 else text[it] }
        }
    }
    repeat(MOST_PASSES) {
        val before = text
        text = joined(PIECE.sub(TOKENS.sub(text) { TOKEN }) { "" })
        text = IntArray(text.size) { at -> if (isSpace(text[at])) ' '.code else text[at] }
        if (!text.isAscii()) text = visible(regional(unmarked(unlike(text))))
        if (text.contentEquals(before)) return text
    }
    return text
}

private fun isSpace(c: Int): Boolean =
    c == 0 || c == 9 || c == 0xA0 || c == 0x1680 || c in 0x2000..0x200A || c == 0x202F || c == 0x205F || c == 0x3000

private val INDICATORS = Pattern("[\uD83C\uDDE6-\uD83C\uDDFF]+")

/** Regional indicators as letters, unless all of them stand in pairs and may be flags. */
private fun regional(text: IntArray): IntArray {
    val runs = INDICATORS.all(text)
    if (runs.none { (it.end - it.start) % 2 == 1 } && !reads(runs.joinToString(" ") { letters(it) }.codes(), 8)) return text
    return INDICATORS.sub(text, ::letters)
}

private fun letters(indicators: Found): String =
    String(CharArray(indicators.end - indicators.start) { 'A' + (indicators.text[indicators.start + it] - 0x1F1E6) })

private val WORD = Pattern("[acojtbmn]+")

/** Put ASCII letters for what looks like them, in the words where that is what they are for. */
private fun unlike(text: IntArray): IntArray {
    val kinds = classes(text)
    if ('c'.code !in kinds) return text
    var latin = 0
    var others = kinds.count { it == 'h'.code }
    val mixed = ArrayList<Found>()
    var pure: List<Found> = emptyList()
    val alone = ArrayList<Found>()
    for (found in WORD.all(kinds)) {
        val word = found.group
        val size = word.length
        if (word.trim('m', 'n').isEmpty()) {
            continue
        } else if ('c' !in word) {
            latin += word.count { it == 'a' }
            others += if ('a' in word) 0 else size
        } else if ('a' in word) {
            latin += size
            mixed += found
        } else if (word.trim('c', 'm', 'n').isNotEmpty()) {
            others += size
        } else {
            alone += found
        }
    }
    if (alone.isNotEmpty()) {
        val size = alone.sumOf { it.end - it.start }
        pure = alone
        if (latin < 2 * (others + size)) {
            val read = Out()
            for ((number, found) in (mixed + alone).withIndex()) {
                if (number > 0) read.add(' '.code)
                read.add(text.translated(Tables.alikes, found.start, found.end))
            }
            val letters = read.done()
            if (others * 4 > size || letters.size < 6 || bitsALetter(letters) > READS_ALIKE) pure = emptyList()
        }
    }
    val out = Out(text.size)
    var last = 0
    for (found in (mixed + pure).sortedBy { it.start }) {
        out.add(text, last, found.start).add(text.translated(Tables.alikes, found.start, found.end))
        last = found.end
    }
    return out.add(text, last).done()
}

/** Drop marks but those of the scripts that have marks of their own, and of keycaps. */
private fun unmarked(text: IntArray): IntArray {
    val kinds = classes(text)
    if ('m'.code !in kinds) return text
    val out = Out(text.size)
    var start = 0
    while (start < text.size) {
        if (kinds[start] != 'm'.code) {
            out.add(text[start++])
            continue
        }
        var end = start
        while (end < text.size && kinds[end] == 'm'.code) end++
        val before = if (start > 0) kinds[start - 1].toChar() else ' '
        val keycap = end == start + 1 && text[start] == 0x20E3 && start > 1 && text[start - 1] == 0xFE0F
        val kept = when {
            before in "oc" -> (start until end).filterNot { isOverlay(text[it]) }
            before in "jtbh" || (keycap && isKey(text[start - 2])) -> (start until end).toList()
            else -> emptyList()
        }
        for (at in kept.take(MOST_MARKS)) out.add(text[at])
        start = end
    }
    return out.done()
}

private fun isKey(c: Int): Boolean = isDigit(c) || c == '#'.code || c == '*'.code

private fun isOverlay(c: Int): Boolean = c in 0x0334..0x0338 || c in 0x20D0..0x20F0 || c == 0x0488 || c == 0x0489

private val SPACED =
    Pattern("(?<![A-Za-z0-9\u0002])[A-Za-z0-9](?:[^A-Za-z0-9\u0002]{1,12}[A-Za-z0-9](?![A-Za-z0-9\u0002])){2,}")

/** Take out what stands between single letters, where the gaps between words differ from it. */
private fun joined(text: IntArray): IntArray {
    val shadow = if (text.isAscii()) text else IntArray(text.size) { shadowOf(text[it]) }
    val runs = SPACED.all(shadow)
    if (runs.isEmpty()) return text
    val out = Out(text.size)
    var last = 0
    for (found in runs) {
        val word = Out()
        val between = respaced(shadow.copyOfRange(found.start, found.end), text.copyOfRange(found.start, found.end), word)
        // What separates the letters from the signs of the sentence, too.
        var first = found.start
        var after = found.end
        while (first > maxOf(last, found.start - MOST_BESIDE) && isSign(shadow[first - 1])) first--
        while (after < minOf(text.size, found.end + MOST_BESIDE) && isSign(shadow[after])) after++
        out.add(text, last, first)
        beside(text, first, found.start, between, out)
        out.add(word.done())
        beside(text, found.end, after, between, out)
        last = after
    }
    return out.add(text, last).done()
}

/** Signs beside a run of letters that are looked at. */
private const val MOST_BESIDE = 12

private fun isSign(c: Int): Boolean = !isAlphanumeric(c) && c != 2 && c != 3 && c != 9 && c != 10 && c != 32

private fun isPunctuation(c: Int): Boolean = c in 0x21..0x7E && !isAlphanumeric(c)

/** The ASCII signs of a stretch that do not separate letters; as it is if there are none, or if nothing separates them. */
private fun beside(text: IntArray, from: Int, to: Int, between: Set<Int>, out: Out) {
    val kept = (from until to).filter { isPunctuation(text[it]) && text[it] !in between }
    if (between.isEmpty() || kept.isEmpty()) out.add(text, from, to) else kept.forEach { out.add(text[it]) }
}

/** Look-alikes as x, other letters as U+0002, spaces U+0003, signs U+0001. */
private fun shadowOf(c: Int): Int =
    if (c < 128) {
        c
    } else {
        when (Tables.classOf(c)) {
            'c' -> 'x'.code
            'z' -> 3
            'i', 's', 'p', 'x' -> 1
            else -> 2
        }
    }

private const val BLANK = " \n\t\u0003"

private fun isAlphanumeric(c: Int): Boolean = isLetter(c) || isDigit(c)

/** A run without what separates its letters, which is returned; nothing, and as it is, if nothing does. */
private fun respaced(shadow: IntArray, text: IntArray, out: Out): Set<Int> {
    // A gap as its kind: signs are alike, and so are those beyond ASCII however many. Apostrophes join the letters of
    // one word: "A: I'm" is no spelling.
    val letters = shadow.indices.filter { isAlphanumeric(shadow[it]) }
    val gaps = (1 until letters.size).map { number ->
        val gap = StringBuilder()
        for (at in letters[number - 1] + 1 until letters[number]) {
            val c = shadow[at]
            if (c == 1 && shadow[at - 1] == 1) continue
            gap.append(if (c <= 1 || c in 0x21..0x7E) 'p' else c.toChar())
        }
        gap.toString()
    }
    val counts = LinkedHashMap<String, Int>()
    for (gap in gaps) counts[gap] = (counts[gap] ?: 0) + 1
    val inner = counts.entries.minWith(compareBy({ -it.value }, { it.key.length })).key
    val spaced = inner.any { it in BLANK }
    val enough = letters.count { !isDigit(text[it]) } * 5 >= letters.size * 2
    if (!enough || counts.getValue(inner) < if (spaced) 3 else 2) {
        out.add(text)
        return emptySet()
    }
    val between = HashSet<Int>()
    for ((number, gap) in gaps.withIndex()) {
        if (gap == inner) for (at in letters[number] + 1 until letters[number + 1]) between += text[at]
    }
    val goes = gaps.map { gap -> gap == inner || (!spaced && gap.none { it in BLANK } && gap.length <= inner.length) }
    // A sign in most gaps between words parts these.
    val signs = HashMap<Int, Int>()
    for ((number, gone) in goes.withIndex()) {
        if (gone) continue
        (letters[number] + 1 until letters[number + 1]).map { text[it] }.toSet().forEach { signs[it] = (signs[it] ?: 0) + 1 }
    }
    between += signs.filter { (sign, count) -> 2 * count > goes.count { !it } && isPunctuation(sign) }.keys
    out.add(text[letters[0]])
    for ((number, gone) in goes.withIndex()) {
        if (!gone) gap(shadow, text, letters[number] + 1, letters[number + 1], between, spaced, out)
        out.add(text[letters[number + 1]])
    }
    return if (spaced) emptySet() else between
}

/** A gap between words without what separates letters: its signs, and a space where one is (or, [spaced], behind them). */
private fun gap(shadow: IntArray, text: IntArray, from: Int, to: Int, between: Set<Int>, spaced: Boolean, out: Out) {
    val kept = ArrayList<Int>()
    for (at in from until to) {
        if (isPunctuation(text[at]) && text[at] !in between) {
            kept += text[at]
        } else if (!spaced && shadow[at] in BLANKS && kept.lastOrNull() != ' '.code) {
            kept += ' '.code
        }
    }
    if (spaced || kept.isEmpty()) kept += ' '.code
    kept.forEach { out.add(it) }
}

private val BLANKS = BLANK.map { it.code }
