package dev.harmguard.core.views

/** Where a pattern was found; [kind] is the group that took part, [body] what is in it. */
internal class Found(val text: IntArray, val start: Int, val end: Int, val kind: String?, private val inside: IntRange) {
    val group: String get() = text.text(start, end)
    val body: String get() = text.text(inside.first, inside.last)
}

/**
 * What the views need of Python's `re`, on code points and with ASCII's `\d` and `\b`, so that the
 * patterns are the same here as there. Not java.util.regex: it is another engine on Android than on
 * a JVM, follows their Unicode versions, and takes a level of the stack for each repetition.
 */
internal class Pattern(private val source: String, private val ignoreCase: Boolean = false) {
    /** A part of the pattern: [emit] writes its steps, once for each time that it is repeated; [set] if it is one character. */
    private class Part(val set: CharSet? = null, val emit: () -> Unit)

    private enum class Kind { RUN, FORK, JUMP, OPEN, CLOSE, DONE, BEHIND, AHEAD, START, END, EDGE }

    private class Step(val kind: Kind, val set: CharSet? = null, val least: Int = 0, val most: Int = 0) {
        var to = 0
    }

    private val written = source.codes()
    private var at = 0
    private val names = ArrayList<String>()
    private val emitted = ArrayList<Step>()
    private val steps: Array<Step>
    private val first: CharSet

    init {
        alternatives().emit()
        emitted += Step(Kind.DONE)
        steps = emitted.toTypedArray()
        first = CharSet.union(firsts(0, HashSet(), ArrayList()))
    }

    fun find(text: IntArray, from: Int = 0): Found? = Search(text).next(from)

    fun isIn(text: IntArray): Boolean = find(text) != null

    fun all(text: IntArray): List<Found> {
        val search = Search(text)
        return generateSequence(search.next(0)) { search.next(it.end) }.toList()
    }

    /** The text with what [put] gives for each place, or left as it is where that is null. */
    fun sub(text: IntArray, put: (Found) -> String?): IntArray {
        val search = Search(text)
        var found = search.next(0) ?: return text
        val out = Out(text.size)
        var last = 0
        while (true) {
            put(found)?.let {
                out.add(text, last, found.start).add(it)
                last = found.end
            }
            found = search.next(found.end) ?: break
        }
        return out.add(text, last).done()
    }

    fun split(text: IntArray): List<IntArray> {
        val found = all(text)
        return (0..found.size).map { number ->
            text.copyOfRange(if (number == 0) 0 else found[number - 1].end, if (number == found.size) text.size else found[number].start)
        }
    }

    private fun alternatives(): Part {
        val parts = arrayListOf(sequence())
        while (at < written.size && written[at] == '|'.code) {
            at++
            parts += sequence()
        }
        if (parts.size == 1) return parts[0]
        return Part {
            val jumps = ArrayList<Step>()
            for ((number, part) in parts.withIndex()) {
                val fork = if (number < parts.size - 1) step(Step(Kind.FORK)) else null
                part.emit()
                if (fork != null) {
                    jumps += step(Step(Kind.JUMP))
                    fork.to = emitted.size
                }
            }
            for (jump in jumps) jump.to = emitted.size
        }
    }

    private fun step(step: Step): Step = step.also { emitted += it }

    private fun sequence(): Part {
        val parts = ArrayList<Part>()
        while (at < written.size && written[at] != '|'.code && written[at] != ')'.code) parts += repeated(one())
        return if (parts.size == 1) parts[0] else Part { parts.forEach { it.emit() } }
    }

    private fun repeated(part: Part): Part {
        val (least, most) = when (if (at < written.size) written[at].toChar() else ' ') {
            '*' -> 0 to FOREVER
            '+' -> 1 to FOREVER
            '?' -> 0 to 1
            '{' -> {
                val close = (at until written.size).first { written[it] == '}'.code }
                val (low, high) = (source.codes().text(at + 1, close) + ",").split(",")
                val comma = ','.code in written.slice(at..close)
                at = close
                low.toInt() to if (!comma) low.toInt() else if (high == "") FOREVER else high.toInt()
            }
            else -> return part
        }
        at++
        if (part.set != null) return Part { step(Step(Kind.RUN, part.set, least, most)) }
        return Part {
            repeat(least) { part.emit() }
            if (most == FOREVER) {
                val start = emitted.size
                val fork = step(Step(Kind.FORK))
                part.emit()
                step(Step(Kind.JUMP)).to = start
                fork.to = emitted.size
            } else {
                val forks = List(most - least) { step(Step(Kind.FORK)).also { part.emit() } }
                for (fork in forks) fork.to = emitted.size
            }
        }
    }

    private fun one(): Part {
        val c = written[at++].toChar()
        if (c == '(') return group()
        if (c == '^') return Part { step(Step(Kind.START)) }
        if (c == '$') return Part { step(Step(Kind.END)) }
        if (c == '\\' && written[at] == 'b'.code) {
            at++
            return Part { step(Step(Kind.EDGE)) }
        }
        at--
        val set = if (c == '[') charClass() else CharSet(item(), false, ignoreCase)
        return Part(set) { step(Step(Kind.RUN, set, 1, 1)) }
    }

    private fun group(): Part {
        val head = listOf("?:", "?<!", "?<=", "?!", "?=", "?P<").first { source.codes().text(at).startsWith(it) }
        at += head.length
        if (head == "?P<") {
            val close = (at until written.size).first { written[it] == '>'.code }
            names += source.codes().text(at, close)
            at = close + 1
            val (name, inner) = names.size - 1 to alternatives()
            at++
            return Part {
                step(Step(Kind.OPEN, least = name))
                inner.emit()
                step(Step(Kind.CLOSE))
            }
        }
        val inner = alternatives()
        at++
        val kind = if ('<' in head) Kind.BEHIND else Kind.AHEAD
        return if (head == "?:") inner else Part { step(Step(kind, inner.set, least = if ('!' in head) 0 else 1)) }
    }

    private fun charClass(): CharSet {
        at++
        val negated = written[at] == '^'.code
        if (negated) at++
        val ranges = ArrayList<Int>()
        while (written[at] != ']'.code) {
            val low = item()
            val isRange = low.size == 2 && low[0] == low[1] && written[at] == '-'.code && written[at + 1] != ']'.code
            ranges += low[0]
            ranges += if (isRange) item(1)[1] else low[1]
        }
        at++
        return CharSet(ranges.toIntArray(), negated, ignoreCase)
    }

    /** A character, also an escaped one, as a range. */
    private fun item(skip: Int = 0): IntArray {
        at += skip
        val c = written[at++]
        if (c != '\\'.code) return intArrayOf(c, c)
        val escaped = written[at++]
        return if (escaped == 'd'.code) intArrayOf(48, 57) else intArrayOf(escaped, escaped)
    }

    /** The sets that a character must be in for a match to begin with it. */
    private fun firsts(step: Int, seen: HashSet<Int>, into: ArrayList<CharSet>): List<CharSet> {
        if (!seen.add(step)) return into
        val one = steps[step]
        if (one.kind == Kind.RUN) into += one.set!!
        if (one.kind == Kind.FORK || one.kind == Kind.JUMP) firsts(one.to, seen, into)
        if (one.kind != Kind.JUMP && !(one.kind == Kind.RUN && one.least > 0)) firsts(step + 1, seen, into)
        return into
    }

    /** Matches in one text, with a stack of its own: (step, place, least place) for each way that is left to try. */
    private inner class Search(private val text: IntArray) {
        private var stack = IntArray(48)
        private var depth = 0
        private var name = -1
        private var open = 0
        private var close = 0

        fun next(from: Int): Found? {
            for (start in from until text.size) {
                if (!first.has(text[start])) continue
                val end = match(start)
                if (end >= 0) return Found(text, start, end, names.getOrNull(name), IntRange(open, close))
            }
            return null
        }

        private fun push(step: Int, place: Int, least: Int) {
            if (depth + 3 > stack.size) stack = stack.copyOf(2 * stack.size)
            stack[depth++] = step
            stack[depth++] = place
            stack[depth++] = least
        }

        private fun match(start: Int): Int {
            var step = 0
            var place = start
            depth = 0
            name = -1
            while (true) {
                val one = steps[step++]
                var holds = true
                when (one.kind) {
                    Kind.RUN -> {
                        val set = one.set!!
                        val limit = if (one.most < text.size - place) place + one.most else text.size
                        val least = place + one.least
                        while (place < limit && set.has(text[place])) place++
                        holds = place >= least
                        if (place > least) push(step, place - 1, least)
                    }
                    Kind.FORK -> push(one.to, place, place)
                    Kind.JUMP -> step = one.to
                    Kind.OPEN -> {
                        name = one.least
                        open = place
                    }
                    Kind.CLOSE -> close = place
                    Kind.DONE -> return place
                    Kind.BEHIND -> holds = (place > 0 && one.set!!.has(text[place - 1])) == (one.least == 1)
                    Kind.AHEAD -> holds = (place < text.size && one.set!!.has(text[place])) == (one.least == 1)
                    Kind.START -> holds = place == 0
                    Kind.END -> holds = place == text.size
                    Kind.EDGE -> holds = isWord(place - 1) != isWord(place)
                }
                if (holds) continue
                if (depth == 0) return -1
                step = stack[depth - 3]
                place = stack[depth - 2]
                if (place > stack[depth - 1]) stack[depth - 2]-- else depth -= 3
            }
        }

        private fun isWord(place: Int): Boolean {
            val c = text.getOrElse(place) { 0 }
            return isLetter(c) || isDigit(c) || c == '_'.code
        }
    }

    private companion object {
        const val FOREVER = Int.MAX_VALUE
    }
}

/** Characters in [ranges] (first, last, first, last ...), or those that are not. */
internal class CharSet(private val ranges: IntArray, private val negated: Boolean, ignoreCase: Boolean = false) {
    private val ascii = BooleanArray(128) { c -> wide(c) || (ignoreCase && isLetter(c) && wide(c xor 32)) }

    fun has(c: Int): Boolean = if (c < 128) ascii[c] else wide(c)

    private fun wide(c: Int): Boolean {
        for (at in ranges.indices step 2) if (c >= ranges[at] && c <= ranges[at + 1]) return !negated
        return negated
    }

    companion object {
        /** At least the characters of all [sets]. */
        fun union(sets: List<CharSet>): CharSet {
            val low = (0 until 128).filter { c -> sets.any { it.has(c) } }.flatMap { listOf(it, it) }
            val high = if (sets.any { it.negated }) listOf(128, 0x10FFFF) else sets.flatMap { it.ranges.asList() }
            return CharSet((low + high).toIntArray(), false)
        }
    }
}
