package dev.harmguard.core

import java.util.TreeMap

/** Tokens, padding included, that one call of the model gets at most, unless one window is longer. */
internal const val MAX_BATCH_TOKENS = 512

/** Model inputs of [rows] windows of [length] ids each, row after row; the mask is 1 on tokens and 0 on padding. */
public class Batch(
    public val rows: Int,
    public val length: Int,
    public val ids: LongArray,
    public val mask: LongArray,
    public val types: LongArray,
)

/** What a window of [length] tokens is padded to: a step of 8, 16 or 32, at most [maxTokens]. */
internal fun paddedLength(length: Int, maxTokens: Int): Int {
    require(length <= maxTokens) { "a window of $length tokens; expected at most $maxTokens" }
    val step = if (length <= 64) 8 else if (length <= 128) 16 else 32
    return minOf((length + step - 1) / step * step, maxTokens)
}

/** Indices of windows of one padded length, at most [MAX_BATCH_TOKENS] a batch, the longest first. */
internal fun batches(lengths: List<Int>, maxTokens: Int): List<List<Int>> {
    val groups = TreeMap<Int, MutableList<Int>>(reverseOrder())
    lengths.forEachIndexed { index, length -> groups.getOrPut(paddedLength(length, maxTokens)) { ArrayList() }.add(index) }
    return groups.flatMap { (padded, members) -> members.chunked(maxOf(1, MAX_BATCH_TOKENS / padded)) }
}

/** One batch of the windows, padded to what the longest of them is padded to. */
internal fun pad(windows: List<Window>, padId: Int, maxTokens: Int): Batch {
    val length = paddedLength(windows.maxOf { it.ids.size }, maxTokens)
    val ids = LongArray(windows.size * length) { padId.toLong() }
    val mask = LongArray(ids.size)
    val types = LongArray(ids.size)
    windows.forEachIndexed { row, window ->
        for (at in window.ids.indices) {
            ids[row * length + at] = window.ids[at].toLong()
            types[row * length + at] = window.types[at].toLong()
            mask[row * length + at] = 1
        }
    }
    return Batch(windows.size, length, ids, mask, types)
}

/** Logits of each window, in the order of the input, by a model that runs one batch at a time. */
internal fun windowLogits(windows: List<Window>, padId: Int, maxTokens: Int, run: (Batch) -> Array<FloatArray>): List<FloatArray> {
    val logits = arrayOfNulls<FloatArray>(windows.size)
    for (members in batches(windows.map { it.ids.size }, maxTokens)) {
        val rows = run(pad(members.map { windows[it] }, padId, maxTokens))
        members.forEachIndexed { row, member -> logits[member] = rows[row] }
    }
    return logits.map { checkNotNull(it) }
}
