package dev.harmguard.core.bundle

import dev.harmguard.core.UnsafeGraphError
import dev.harmguard.core.UnsafePathError
import java.nio.ByteBuffer
import java.nio.ByteOrder

private const val MAX_NODES = 50_000
private const val LONGEST_TEXT = 4096
private const val SMALL = 64

/** TensorProto.data_location of a tensor whose data lie in another file. */
internal const val EXTERNAL = 1L

// Field numbers of onnx-ml.proto3, onnx 1.23.
private fun fields(kind: Int, vararg numbers: Int) = numbers.associateWith { kind }

private val MODEL = Message(
    "the model", fields(VARINT, 1, 5) + fields(BYTES, 2, 3, 4, 6, 7), fields(BYTES, 8, 14, 20, 25, 26),
)
private val OPSET = Message("an opset", fields(BYTES, 1) + fields(VARINT, 2))
private val GRAPH = Message("a graph", fields(BYTES, 2, 10), fields(BYTES, 1, 5, 11, 12, 13, 14, 15, 16))
private val NODE = Message("a node", fields(BYTES, 3, 4, 6, 7, 8), fields(BYTES, 1, 2, 5, 9, 10))
private val ATTRIBUTE = Message(
    "an attribute",
    fields(BYTES, 1, 4, 5, 6, 13, 14, 21, 22) + fields(FIXED32, 2) + fields(VARINT, 3, 20),
    fields(FIXED32, 7) + fields(VARINT, 8) + fields(BYTES, 9, 10, 11, 15, 23),
)
private val TENSOR = Message(
    "a tensor",
    fields(VARINT, 2, 14) + fields(BYTES, 3, 8, 9, 12),
    fields(VARINT, 1, 5, 7, 11) + fields(FIXED32, 4) + fields(FIXED64, 10) + fields(BYTES, 6, 13, 16),
)
private val ENTRY = Message("a reference", fields(BYTES, 1, 2))

/** A constant: its shape and type, where its data are, and how many elements those are. */
internal class Tensor {
    var name = ""
    val dims = ArrayList<Long>()
    var kind = 0L
    var location = 0L

    /** Of external data: location, offset, length. */
    val entries = HashMap<String, String>()
    var raw: IntRange? = null

    /** Elements of data that are not raw, and whether there is such a field. */
    var typed = 0L
    var hasTyped = false

    /** The first elements of int32_data and int64_data. */
    val ints = ArrayList<Long>()
}

/** An attribute that is one float, or a list of numbers; only how many there are. */
internal class Numbers(val count: Long)

/** One operator. Attributes are Long, [Numbers], [Tensor], [Graph], or null for strings. */
internal class Node {
    var op = ""
    var domain = ""
    val inputs = ArrayList<String>()
    val outputs = ArrayList<String>()
    val attributes = HashMap<String, Any?>()
}

/** The nodes of a graph, in order, its constants, and how many inputs and outputs it has. */
internal class Graph {
    val nodes = ArrayList<Node>()
    val tensors = ArrayList<Tensor>()
    var inputs = 0
    var outputs = 0
}

/**
 * Reads the parts of an ONNX file that decide what it does: nodes, attributes, constants,
 * references. A runtime opens whatever path a model names and runs whatever operator it knows.
 */
internal class OnnxFile(private val data: ByteArray) {
    private val read = Reader(data)
    private var nodes = 0

    /** The opset of each domain. */
    val opsets = HashMap<String, Long>()

    /** BundleFileError for a malformed file, and UnsafeGraphError for what no guard has. */
    val graph: Graph = model()

    private fun model(): Graph {
        if (data.isEmpty()) throw malformed("0 bytes")
        var graph: Graph? = null
        read.fields(0, data.size, MODEL) { tag, first, last ->
            when (tag shr 3) {
                7 -> graph = graph(first.toInt(), last, 0)
                8 -> opset(first.toInt(), last)
                14 -> notes(first, last)
                20, 25, 26 -> throw unsafe("a training graph, a local function, or devices")
            }
        }
        return graph ?: throw malformed("0 graphs")
    }

    private fun opset(start: Int, end: Int) {
        var domain = ""
        var version = 0L
        read.fields(start, end, OPSET) { tag, first, last ->
            if (tag shr 3 == 1) domain = domain(text(first, last)) else version = first
        }
        if (opsets.put(domain, version) != null) throw malformed("the opset of ${shown(domain)} twice")
    }

    private fun graph(start: Int, end: Int, depth: Int): Graph {
        val graph = Graph()
        read.fields(start, end, GRAPH) { tag, first, last ->
            when (tag shr 3) {
                1 -> graph.nodes.add(node(first.toInt(), last, depth))
                5 -> graph.tensors.add(tensor(first.toInt(), last))
                11 -> graph.inputs++
                12 -> graph.outputs++
                15 -> throw unsafe("a sparse tensor")
                16 -> notes(first, last)
            }
        }
        return graph
    }

    private fun node(start: Int, end: Int, depth: Int): Node {
        if (++nodes > MAX_NODES) throw unsafe("more than $MAX_NODES operators")
        val node = Node()
        read.fields(start, end, NODE) { tag, first, last ->
            when (tag shr 3) {
                1 -> node.inputs.add(text(first, last))
                2 -> node.outputs.add(text(first, last))
                4 -> node.op = text(first, last)
                5 -> attribute(node, first.toInt(), last, depth)
                7 -> node.domain = domain(text(first, last))
                9 -> notes(first, last)
                8, 10 -> throw unsafe("an operator for other devices, or with overloads")
            }
        }
        return node
    }

    private fun attribute(node: Node, start: Int, end: Int, depth: Int) {
        var name = ""
        var filled = 0
        var value: Any? = null
        read.fields(start, end, ATTRIBUTE) { tag, first, last ->
            when (val number = tag shr 3) {
                1 -> name = text(first, last)
                in 2..9 -> {
                    if (filled != 0 && filled != number) throw unsafe("an attribute ${shown(name)} of two kinds")
                    filled = number
                    value = value(tag, first, last, depth, value)
                }
                10, 11, 14, 15, 21, 22, 23 -> throw unsafe("an attribute of tensors, graphs or types")
            }
        }
        if (name in node.attributes) throw malformed("the attribute ${shown(name)} twice")
        node.attributes[name] = value
    }

    /** The value of an attribute; [before] is what it has of it already, for lists. */
    private fun value(tag: Int, first: Long, last: Int, depth: Int, before: Any?): Any? = when (tag shr 3) {
        3 -> first
        5 -> tensor(first.toInt(), last)
        6 -> if (depth > 0) throw unsafe("a graph within a graph within a graph") else graph(first.toInt(), last, depth + 1)
        4, 9 -> null
        else -> Numbers(count(tag, first, last, if (tag shr 3 == 7) 4 else 0) + ((before as? Numbers)?.count ?: 0))
    }

    private fun tensor(start: Int, end: Int): Tensor {
        val tensor = Tensor()
        read.fields(start, end, TENSOR) { tag, first, last ->
            when (tag shr 3) {
                1 -> numbers(tag, first, last, tensor.dims)
                2 -> tensor.kind = first
                8 -> tensor.name = text(first, last)
                9 -> tensor.raw = first.toInt() until last
                13 -> entry(tensor, first.toInt(), last)
                14 -> tensor.location = first
                4, 5, 7, 10, 11 -> typed(tensor, tag, first, last)
                3, 6 -> throw unsafe("a tensor of strings or in segments")
                16 -> notes(first, last)
            }
        }
        return tensor
    }

    private fun typed(tensor: Tensor, tag: Int, first: Long, last: Int) {
        val number = tag shr 3
        tensor.hasTyped = true
        tensor.typed += count(tag, first, last, if (number == 4) 4 else if (number == 10) 8 else 0)
        if ((number == 5 || number == 7) && tensor.typed <= SMALL) numbers(tag, first, last, tensor.ints)
    }

    /** How many numbers a field holds: one, or those that are packed in it, each of [width] bytes, or a varint. */
    private fun count(tag: Int, first: Long, last: Int, width: Int): Long {
        if (tag and 7 != BYTES) return 1
        if (width == 0) return (first.toInt() until last).count { data[it] >= 0 }.toLong()
        if ((last - first) % width != 0L) throw malformed("numbers cut short")
        return (last - first) / width
    }

    /** Adds the values of a field of varints, packed or not. */
    private fun numbers(tag: Int, first: Long, last: Int, out: MutableList<Long>) {
        if (tag and 7 == VARINT) {
            out.add(first)
            return
        }
        var at = first.toInt()
        var count = 0
        while (at < last) {
            out.add(read.varint(at, last))
            at = read.after
            if (++count > SMALL) throw malformed("more than $SMALL dimensions")
        }
    }

    private fun entry(tensor: Tensor, start: Int, end: Int) {
        var key = ""
        var value = ""
        read.fields(start, end, ENTRY) { tag, first, last ->
            if (tag shr 3 == 1) key = text(first, last) else value = text(first, last)
        }
        if (tensor.entries.put(key, value) != null) {
            throw UnsafePathError(
                "model.onnx: the key ${shown(key)} twice in one reference; expected each once; likely a hostile bundle",
            )
        }
    }

    /** Metadata, which nothing reads: refused all the same where protobuf refuses them. */
    private fun notes(start: Long, end: Int) = read.fields(start.toInt(), end, ENTRY) { _, _, _ -> }

    private fun text(start: Long, end: Int): String {
        if (end - start > LONGEST_TEXT) throw malformed("a name of ${end - start} bytes")
        try {
            return StrictJson.utf8(data, start.toInt(), end)
        } catch (_: JsonError) {
            throw malformed("a name that is not UTF-8")
        }
    }
}

private fun domain(name: String): String = if (name == "ai.onnx") "" else name

/** The values of a constant of at most 64 whole numbers that lies in the file; else null. */
internal fun smallInts(tensor: Tensor?, data: ByteArray): List<Long>? {
    if (tensor == null || (tensor.kind != 6L && tensor.kind != 7L) || tensor.entries.isNotEmpty()) return null
    val raw = tensor.raw ?: return tensor.ints.takeIf { tensor.typed <= SMALL }
    val size = raw.last + 1 - raw.first
    if (size > 8 * SMALL) return null
    val bytes = ByteBuffer.wrap(data, raw.first, size).order(ByteOrder.LITTLE_ENDIAN)
    return if (tensor.kind == 6L) List(size / 4) { bytes.getInt().toLong() } else List(size / 8) { bytes.getLong() }
}

/** The error for a graph that could do more than a guard's. */
internal fun unsafe(found: String): UnsafeGraphError = UnsafeGraphError(
    "model.onnx: $found; expected only what the exporter writes: operators that end, on memory that " +
        "the file's size bounds; likely a hostile bundle, or one of another exporter",
)
