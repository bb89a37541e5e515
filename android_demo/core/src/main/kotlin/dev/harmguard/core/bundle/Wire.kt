package dev.harmguard.core.bundle

import dev.harmguard.core.BundleFileError

private const val VARINT = 0
private const val BYTES = 2

/** Half of what Python takes, for the memory of a phone; an encoder of 24 layers has about 50,000. */
private const val MAX_FIELDS = 500_000
private const val MAX_TAG = (1L shl 32) - 1
private const val LONGEST_TEXT = 4096

/** So many numbers of a list are kept; of a longer one only how many there are. */
internal const val SMALL = 64

/**
 * What a message may hold: numbers of fields with a letter, as "1t 2V": v varint, f four bytes, d
 * eight bytes, t text, m message, b bytes, x what no guard has. A capital may be repeated.
 */
internal class Message(val name: String, fields: String, val inner: Map<Int, Message> = emptyMap(), val refused: String = "") {
    val types = fields.split(' ').associate { it.dropLast(1).toInt() to it.last() }
    val size = types.keys.max() + 1
}

/** Numbers that may be repeated: how many, and which, if they are few varints. */
internal class Numbers(val count: Long = 0, val values: List<Long> = emptyList()) {
    fun plus(count: Long, values: List<Long> = emptyList()) = Numbers(this.count + count, (this.values + values).take(SMALL))
}

/** The values of one message, by the number of the field. */
internal class Values(kind: Message) {
    val found = arrayOfNulls<Any>(kind.size)

    fun number(field: Int): Long = found[field] as Long? ?: 0

    fun numbers(field: Int): Numbers = found[field] as Numbers? ?: Numbers()

    fun text(field: Int): String = found[field] as String? ?: ""

    @Suppress("UNCHECKED_CAST")
    fun <T> all(field: Int): MutableList<T> = (found[field] ?: ArrayList<T>().also { found[field] = it }) as MutableList<T>
}

/**
 * A strict, bounded reader of protobuf's wire format. Protobuf forgives much, and not the same in
 * every release: what is read here is refused unless all readers agree on it.
 */
internal class Reader(private val data: ByteArray) {
    private var left = MAX_FIELDS
    private var at = 0

    /** The message in [start, end). BundleFileError for what is not one, UnsafeGraphError for what no guard has. */
    fun message(start: Int, end: Int, kind: Message): Values {
        val out = Values(kind)
        at = start
        while (at < end) {
            if (--left < 0) throw malformed("more than $MAX_FIELDS fields")
            val begin = at
            val tag = varint(end)
            // Zeros at the end make a tag longer and not larger: no writer does that.
            if (tag !in 0..MAX_TAG || at - begin > 5 || (at - begin > 1 && data[at - 1] == 0.toByte())) {
                throw malformed("a tag of ${at - begin} bytes")
            }
            field(out, (tag shr 3).toInt(), (tag and 7).toInt(), end, kind)
        }
        return out
    }

    private fun field(out: Values, number: Int, wire: Int, end: Int, kind: Message) {
        val type = kind.types[number] ?: ' '
        val width = if (type in "fF") 4 else 8
        val own = if (type in "vV") VARINT else if (type in "dD") 1 else if (type in "fF") 5 else BYTES
        // Numbers that may be repeated may also stand in one field, "packed".
        if (type == ' ' || (wire != own && (wire != BYTES || type !in "VFD"))) {
            throw malformed("field $number of wire type $wire in ${kind.name}")
        }
        if (out.found[number] != null && type.isLowerCase()) throw malformed("field $number twice in ${kind.name}")
        if (wire == VARINT) {
            val value = varint(end)
            out.found[number] = if (type == 'v') value else out.numbers(number).plus(1, listOf(value))
            return
        }
        val size = if (wire == BYTES) varint(end) else width.toLong()
        if (size < 0 || size > end - at) throw malformed("a field of $size bytes with ${end - at} left")
        val first = at
        val last = first + size.toInt()
        when (type) {
            't' -> out.found[number] = text(first, last)
            'T' -> out.all<String>(number).add(text(first, last))
            'm' -> out.found[number] = message(first, last, kind.inner.getValue(number))
            'M' -> out.all<Values>(number).add(message(first, last, kind.inner.getValue(number)))
            'b' -> out.found[number] = first until last
            'B' -> out.found[number] = out.numbers(number).plus(1)
            'V' -> out.found[number] = packed(out.numbers(number), first, last)
            'x', 'X' -> throw unsafe(kind.refused)
            else -> {
                if (size % width != 0L) throw malformed("numbers cut short")
                out.found[number] = out.numbers(number).plus(size / width)
            }
        }
        at = last
    }

    private fun packed(before: Numbers, first: Int, last: Int): Numbers {
        val count = (first until last).count { data[it] >= 0 }
        if (before.count + count > SMALL) return before.plus(count.toLong())
        val values = ArrayList<Long>()
        at = first
        while (at < last) values.add(varint(last))
        return before.plus(count.toLong(), values)
    }

    /** An unsigned number of at most 64 bits. */
    private fun varint(end: Int): Long {
        var value = 0L
        for (shift in 0 until 70 step 7) {
            if (at >= end) throw malformed("a number cut short")
            val byte = data[at++].toInt()
            value = value or ((byte and 0x7F).toLong() shl shift)
            if (shift == 63 && byte !in 0..1) throw malformed("a number of more than 64 bits or ten bytes")
            if (byte >= 0) break
        }
        return value
    }

    private fun text(start: Int, end: Int): String {
        if (end - start > LONGEST_TEXT) throw malformed("a name of ${end - start} bytes")
        try {
            return StrictJson.utf8(data, start, end)
        } catch (_: JsonError) {
            throw malformed("a name that is not UTF-8")
        }
    }
}

/** The error for a file that is no ONNX file, or that readers would not all understand alike. */
internal fun malformed(found: String): BundleFileError =
    BundleFileError(
        "model.onnx: $found; expected an ONNX protobuf with one graph; " +
            "likely truncated, not an ONNX file, or made to be read in two ways",
    )
