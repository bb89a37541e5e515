package dev.harmguard.core.bundle

import dev.harmguard.core.BundleFileError

internal const val VARINT = 0
internal const val FIXED64 = 1
internal const val BYTES = 2
internal const val FIXED32 = 5
private const val MAX_FIELDS = 1_000_000
private const val MAX_TAG = (1L shl 32) - 1

/**
 * What a message may hold: of every tag, a bit of its own if it stands once, 0 if it may be
 * repeated, -1 if it is none; from field number to wire type.
 */
internal class Message(val name: String, once: Map<Int, Int>, many: Map<Int, Int> = emptyMap()) {
    val tags = IntArray(256) { -1 }

    init {
        once.entries.forEachIndexed { bit, (number, kind) -> tags[number shl 3 or kind] = 1 shl bit }
        for ((number, kind) in many) {
            tags[number shl 3 or kind] = 0
            // Numbers may also stand in one field, "packed".
            tags[number shl 3 or BYTES] = 0
        }
    }
}

/**
 * A strict, bounded reader of protobuf's wire format, for the messages of an ONNX file.
 *
 * Protobuf forgives much, and not the same in every release. What is read here is refused unless
 * all readers agree on it. All of [data] together has at most MAX_FIELDS fields.
 */
internal class Reader(private val data: ByteArray) {
    private var left = MAX_FIELDS

    /** Where the last varint ended. */
    var after = 0
        private set

    /**
     * Each field of the message in [start, end): its tag, and where its body is. The body of a
     * varint is its value, and a 0. BundleFileError for what is not protobuf, not a field of the
     * message, or there a second time and meant to be there once.
     */
    inline fun fields(start: Int, end: Int, kind: Message, each: (tag: Int, first: Long, last: Int) -> Unit) {
        var at = start
        var seen = 0
        while (at < end) {
            val tag = tag(at, end, kind, seen)
            at = after
            seen = seen or kind.tags[tag]
            if (tag and 7 == VARINT) {
                val value = varint(at, end)
                at = after
                each(tag, value, 0)
            } else {
                val size = size(tag and 7, at, end)
                at = after + size
                each(tag, after.toLong(), at)
            }
        }
    }

    /** An unsigned number of at most 64 bits; [after] is where it ends. */
    fun varint(start: Int, end: Int): Long {
        var value = 0L
        var shift = 0
        var at = start
        while (at < end) {
            val byte = data[at++].toInt()
            value = value or ((byte and 0x7F).toLong() shl shift)
            if (byte >= 0) {
                if (shift == 63 && byte > 1) throw malformed("a number of more than 64 bits")
                after = at
                return value
            }
            shift += 7
            if (shift >= 70) throw malformed("a number of more than ten bytes")
        }
        throw malformed("a number cut short")
    }

    fun tag(start: Int, end: Int, kind: Message, seen: Int): Int {
        if (--left < 0) throw malformed("more than $MAX_FIELDS fields")
        val tag = varint(start, end)
        // Zeros at the end make a tag longer and not larger: no writer does that.
        if (tag !in 0..MAX_TAG || after - start > 5 || (after - start > 1 && data[after - 1] == 0.toByte())) {
            throw malformed("a tag of ${after - start} bytes")
        }
        val once = if (tag < kind.tags.size) kind.tags[tag.toInt()] else -1
        if (once < 0) throw malformed("field ${tag shr 3} of wire type ${tag and 7} in ${kind.name}")
        if (seen and once != 0) throw malformed("field ${tag shr 3} twice in ${kind.name}")
        return tag.toInt()
    }

    fun size(wire: Int, start: Int, end: Int): Int {
        after = start
        val size = if (wire == BYTES) varint(start, end) else if (wire == FIXED32) 4L else 8L
        if (size < 0 || size > end - after) throw malformed("a field of $size bytes with ${end - after} left")
        return size.toInt()
    }
}

/** The error for a file that is no ONNX file, or that readers would not all understand alike. */
internal fun malformed(found: String): BundleFileError = BundleFileError(
    "model.onnx: $found; expected an ONNX protobuf with one graph; " +
        "likely truncated, not an ONNX file, or made to be read in two ways",
)
