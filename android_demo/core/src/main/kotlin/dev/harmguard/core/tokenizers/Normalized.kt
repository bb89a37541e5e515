package dev.harmguard.core.tokenizers

/** A text as code points, of which each knows the characters of the original text that it comes from, [starts] to [ends]. */
internal class Normalized(val points: IntArray, val starts: IntArray, val ends: IntArray) {
    val size: Int get() = points.size

    /** This text with each character replaced by what [each] puts in its place. */
    inline fun map(each: Writer.(Int) -> Unit): Normalized {
        val out = Writer(this)
        for (at in points.indices) {
            out.at = at
            out.each(points[at])
        }
        return out.done()
    }

    /** A part of this text. */
    fun part(from: Int, to: Int): Normalized =
        Normalized(points.copyOfRange(from, to), starts.copyOfRange(from, to), ends.copyOfRange(from, to))

    companion object {
        /** A part of an original text. */
        fun of(text: IntArray, from: Int, to: Int): Normalized =
            Normalized(text.copyOfRange(from, to), IntArray(to - from) { from + it }, IntArray(to - from) { from + it + 1 })
    }
}

/** Writes a text that takes the place of [old]: what is written comes from its character [at]. */
internal class Writer(private val old: Normalized) {
    var at = 0
    private var size = 0
    private var points = IntArray(old.size + 16)
    private var origins = IntArray(old.size + 16)

    fun put(c: Int) {
        if (size == points.size) {
            points = points.copyOf(2 * size)
            origins = origins.copyOf(2 * size)
        }
        points[size] = c
        origins[size++] = at
    }

    fun put(text: IntArray) = text.forEach(::put)

    /**
     * Puts marks in their order, where something was put for every character. As the library has it, it is not its
     * origin that a mark takes along, but whether it is the first of what its character became.
     */
    fun orderMarks() {
        val first = BooleanArray(size) { it == 0 || origins[it] != origins[it - 1] }
        var end = 0
        while (end < size) {
            val start = end
            while (end < size && CharTables.order(points[end]) != 0) end++
            if (end - start > 1) {
                val moved = (start until end).sortedBy { CharTables.order(points[it]) }.map { points[it] to first[it] }
                for ((place, mark) in moved.withIndex()) {
                    points[start + place] = mark.first
                    first[start + place] = mark.second
                }
            }
            end++
        }
        var origin = -1
        for (place in 0 until size) {
            if (first[place]) origin++
            origins[place] = origin
        }
    }

    fun done(): Normalized =
        Normalized(points.copyOf(size), IntArray(size) { old.starts[origins[it]] }, IntArray(size) { old.ends[origins[it]] })
}
